//! Files as vendors' tools write them, and what is wrong with others.

use super::*;

const YAML: &str = r#"---
cdiVersion: 0.5.0
kind: nvidia.com/gpu
containerEdits:
  deviceNodes:
  - path: /dev/nvidiactl
  - path: /dev/nvidia-uvm
    permissions: rw
  env:
  - NVIDIA_VISIBLE_DEVICES=void
  hooks:
  - args:
    - nvidia-cdi-hook
    - update-ldcache
    - --folder
    - /usr/lib/x86_64-linux-gnu
    hookName: createContainer
    path: /usr/bin/nvidia-cdi-hook
  mounts:
  - containerPath: /usr/bin/nvidia-smi
    hostPath: /usr/bin/nvidia-smi
    options:
    - ro
    - nosuid
    - bind
devices:
- name: "0"
  containerEdits:
    deviceNodes:
    - path: /dev/nvidia0
- containerEdits:
    deviceNodes:
    - path: /dev/nvidia1
      hostPath: /dev/nvidia7
      fileMode: 438
  name: "1"
"#;

const JSON: &str = r#"{"cdiVersion": "1.1.0", "kind": "vendor.com/class", "annotations": {"a": "b"}, "devices": [
    {"name": "one", "annotations": {"c": "d"}, "containerEdits": {"env": ["ONE=1"], "additionalGids": [0, 7],
     "netDevices": [{"hostInterfaceName": "eth7", "name": "lan"}]}}],
    "containerEdits": {"mounts": [{"hostPath": "tmpfs", "containerPath": "/x", "type": "tmpfs"}]}}"#;

fn shelf() -> Shelf {
    let mut shelf = Shelf::default();
    shelf.add(parse(YAML, false).unwrap(), 0);
    shelf.add(parse(JSON, true).unwrap(), 0);
    shelf
}

fn names(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[test]
fn what_is_a_name() {
    for name in ["nvidia.com/gpu=0", "a/b=c", "vendor.com/class.x=a:b_c-d.e", "vendor.com/class=all"] {
        assert!(is_name(name), "{name}");
    }
    for text in
        ["/dev/x", "/dev/a=b", "vendor.com/class", "vendor.com=x", "1a/b=c", "a/b=", "a/b=-c", "a/b/c=d", "a/b=c/d"]
    {
        assert!(!is_name(text), "{text}");
    }
    assert_eq!(of_gpus(&names(&["all"])), ["nvidia.com/gpu=all"]);
    assert_eq!(of_gpus(&names(&["0,\"device=1,2\""])), ["nvidia.com/gpu=0", "nvidia.com/gpu=1", "nvidia.com/gpu=2"]);
}

#[test]
fn what_devices_ask_for() {
    let shelf = shelf();
    let edits = |asked: &[&str]| shelf.edits(&[], &names(asked)).unwrap();
    let paths = |edits: &Edits| edits.device_nodes.iter().map(|node| node.path.clone()).collect::<Vec<_>>();
    let one = edits(&["nvidia.com/gpu=1"]);
    assert_eq!(paths(&one), ["/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia1"]);
    assert_eq!(one.device_nodes[2].source(), Path::new("/dev/nvidia7"));
    assert_eq!((one.device_nodes[1].access(), one.device_nodes[0].access()), ("rw", "rwm"));
    assert_eq!(one.hooks[0].args[1], "update-ldcache");
    assert_eq!(one.mounts[0].options, ["ro", "nosuid", "bind"]);
    // What a file has for all its devices is there once, and each device too.
    let all = edits(&["nvidia.com/gpu=all", "nvidia.com/gpu=1", "vendor.com/class=one"]);
    assert_eq!(paths(&all), ["/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia0", "/dev/nvidia1"]);
    assert_eq!((all.env.len(), all.additional_gids.as_slice()), (2, &[0, 7][..]));
    assert_eq!(all.net_devices[0].host_interface_name, "eth7");
}

#[test]
fn later_directories_win_and_doubles_are_refused() {
    let other = JSON.replace("ONE=1", "ONE=2");
    let mut shelf = shelf();
    shelf.add(parse(&other, true).unwrap(), 1);
    let one = names(&["vendor.com/class=one"]);
    assert_eq!(shelf.edits(&[], &one).unwrap().env, ["ONE=2"]);
    shelf.add(parse(&other, true).unwrap(), 1);
    let fault = shelf.edits(&[], &one).unwrap_err();
    assert!(fault.to_string().contains("two files"), "{fault}");
    let fault = shelf.edits(&["/a".into()], &names(&["vendor.com/class=two"])).unwrap_err();
    assert!(fault.message.contains("unresolvable CDI devices vendor.com/class=two"), "{fault}");
    assert!(fault.hint.contains("/a have nvidia.com/gpu=0, nvidia.com/gpu=1, vendor.com/class=one"), "{fault}");
}

#[test]
fn what_is_wrong_with_a_file() {
    for (from, to, words) in [
        ("1.1.0", "9.0.0", "version \"9.0.0\""),
        ("vendor.com/class", "vendor", "kind \"vendor\""),
        ("\"one\"", "\"-\"", "device name \"-\""),
        ("ONE=1", "ONE", "variable \"ONE\""),
        ("\"/x\"", "\"x\"", "mount at \"x\""),
        ("annotations", "anotations", "unknown field"),
        ("\"env\": [\"ONE=1\"]", "\"deviceNodes\": [{\"path\": \"/a\", \"type\": \"x\"}]", "its type \"x\""),
        ("\"env\": [\"ONE=1\"]", "\"deviceNodes\": [{\"path\": \"a\"}]", "absolute"),
        ("\"env\": [\"ONE=1\"]", "\"hooks\": [{\"hookName\": \"never\", \"path\": \"/a\"}]", "no moment \"never\""),
        ("\"env\": [\"ONE=1\"]", "\"hooks\": [{\"hookName\": \"poststop\", \"path\": \"a\"}]", "absolute"),
    ] {
        let why = parse(&JSON.replacen(from, to, 1), true).unwrap_err();
        assert!(why.contains(words), "{to}: {why}");
    }
    assert!(parse("cdiVersion: 1.0.0\nkind: [", false).is_err());
    assert!(parse("", false).is_err());
    let mut shelf = Shelf::default();
    shelf.add(parse(&JSON.replace("\"env\"", "\"intelRdt\": {\"closID\": \"x\"}, \"env\""), true).unwrap(), 0);
    let fault = shelf.edits(&[], &names(&["vendor.com/class=one"])).unwrap_err();
    assert_eq!(fault.kind, Kind::Unsupported);
}
