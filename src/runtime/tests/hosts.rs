//! Containers on other hosts than this one: user namespaces, rootless, a ramfs as the root, kernels without the new mount
//! interface. What must not happen in the test's own process happens in this binary executed again in a role.

use crate::support::Box;
use runtime::Rootfs;
use serde_json::json;
use std::fs;

pub const TESTS: &[(&str, fn())] = &[
    ("user_namespace_with_mapped_layers", user_namespace_with_mapped_layers),
    ("many_layers", many_layers),
    ("a_directory_as_root", a_directory_as_root),
    ("an_id_that_is_not_mapped", an_id_that_is_not_mapped),
    ("mapped_bind_mounts", mapped_bind_mounts),
];

fn maps(container: &mut Box) {
    container.edit(|spec| {
        spec["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "user"}));
        for map in ["uidMappings", "gidMappings"] {
            spec["linux"][map] = json!([{"containerID": 0, "hostID": 100000, "size": 65536}]);
        }
    });
}

fn idmap() -> types::IdMap {
    let ranges = vec![types::IdRange { container: 0, host: 100000, size: 65536 }];
    types::IdMap { uids: ranges.clone(), gids: ranges }
}

fn user_namespace_with_mapped_layers() {
    let mut container = Box::script(
        "id -u; cat /proc/self/uid_map; stat -c %u:%g /bin/busybox; touch /new; stat -c %u /new; chown 1000 /new && echo chowned; echo x > /dev/null && stat -c %t:%T /dev/null; echo hi > /dev/stdout; grep -c . /proc/1/status > /dev/null && echo proc",
    );
    maps(&mut container);
    if let Rootfs::Overlay { idmap: map, .. } = &mut container.create.rootfs {
        *map = Some(idmap());
    }
    let outcome = container.run();
    assert_eq!(outcome.out, "0\n         0     100000      65536\n0:0\n0\nchowned\n1:3\nhi\nproc\n", "{outcome:?}");
    let upper = container.scratch.0.join("u/new");
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&fs::metadata(upper).unwrap()), 101000, "on disk, what it wrote is owned by the host's ids");
    // A process added to it is in the same user namespace, with its rights only.
    let mut sleeper = Box::new(&["sleep", "60"]);
    maps(&mut sleeper);
    if let Rootfs::Overlay { idmap: map, .. } = &mut sleeper.create.rootfs {
        *map = Some(idmap());
    }
    let mut running = sleeper.launch();
    running.start();
    let outcome = running.exec(&["sh", "-c", "id -u; readlink /proc/self/ns/user; stat -c %u /bin/busybox"], |_| ());
    let pid = running.pid.unwrap().0;
    let user = fs::read_link(format!("/proc/{pid}/ns/user")).unwrap();
    assert_eq!(outcome.out, format!("0\n{}\n0\n", user.display()), "{outcome:?}");
    running.kill();
    running.wait();
}

fn many_layers() {
    let mut container = Box::new(&["sh", "-c", "ls /layers | wc -l; cat /top"]);
    let mut lower = Vec::new();
    for number in (2..=200).rev() {
        let layer = container.scratch.0.join(number.to_string());
        fs::create_dir_all(layer.join("layers")).unwrap();
        fs::write(layer.join("layers").join(number.to_string()), "").unwrap();
        fs::write(layer.join("top"), number.to_string()).unwrap();
        lower.push(number.to_string().into());
    }
    lower.push("1".into());
    if let Rootfs::Overlay { lower: all, .. } = &mut container.create.rootfs {
        *all = lower;
    }
    container.prints("199\n200");
}

fn a_directory_as_root() {
    let mut container = Box::script("touch /made; cat /proc/1/comm; echo done");
    container.create.rootfs = Rootfs::Directory(container.layer());
    container.prints("sh\ndone");
    assert!(container.layer().join("made").exists());
}

fn an_id_that_is_not_mapped() {
    let mut container = Box::new(&["true"]);
    maps(&mut container);
    container.create.user = Some("70000".into());
    let message = container.run().failure().1;
    assert!(message.contains("user id 70000 is not mapped"), "{message}");
}

fn mapped_bind_mounts() {
    let mut container = Box::script("stat -c %u /volume; touch /volume/new");
    maps(&mut container);
    if let Rootfs::Overlay { idmap: map, .. } = &mut container.create.rootfs {
        *map = Some(idmap());
    }
    let volume = container.scratch.0.join("volume");
    fs::create_dir(&volume).unwrap();
    container.mount(json!({"destination": "/volume", "type": "bind", "source": volume, "options": ["rbind", "idmap"]}));
    container.prints("0");
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&fs::metadata(volume.join("new")).unwrap()), 0);
}
