//! `checkpoint`: the processes of a container become files, by the program CRIU.
//!
//! Beside CRIU's own files lies `descriptors.json`, as runc writes it: what the first process's three streams were, by the names
//! under which `restore` puts others in their place.
//!
//! Must not know: how they are restored.

use super::criu::{Criu, NETWORK};
use super::failure::Failure;
use super::flags::Words;
use super::state::Status;
use super::{Program, delete};
use oci_spec::runtime::{LinuxNamespaceType, Spec};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// The file with the names of the streams.
pub(crate) const STREAMS: &str = "descriptors.json";

/// `checkpoint`: the container is deleted then, unless it is to go on.
pub(crate) fn checkpoint(program: &Program, words: &Words) -> Result<u8, Failure> {
    let place = program.containers()?.find(words.container())?;
    let record = place.record()?;
    let (Status::Running, Some(first)) = (place.status(Some(&record))?, record.first) else {
        let status = place.status(Some(&record))?;
        return Err(Failure::Status { action: "checkpoint", id: place.id.clone(), status });
    };
    let spec = place.specification()?;
    refuse_terminal(&spec)?;
    let goes_on = words.has("leave-running") || words.has("pre-dump");
    let action = if words.has("pre-dump") { "pre-dump" } else { "dump" };
    let mut criu = Criu::new(program, words, action, &record.rootfs)?;
    criu.make_directories()?;
    criu.pair("--tree", first.pid.to_string());
    if words.has("leave-running") && !words.has("pre-dump") {
        criu.switch("--leave-running");
    }
    if words.has("pre-dump") || words.value("parent-path").is_some() {
        criu.switch("--track-mem");
    }
    if let Some(parent) = words.value("parent-path") {
        criu.pair("--prev-images-dir", parent.into());
    }
    for (flag, name) in [("tcp-skip-in-flight", "--skip-in-flight"), ("link-remap", "--link-remap")] {
        if words.has(flag) {
            criu.switch(name);
        }
    }
    serve_pages(&mut criu, words)?;
    if let Some(path) = network(&spec) {
        let inode = std::fs::metadata(&path).map_err(|source| Failure::File { step: "find", path, source })?.ino();
        criu.pair("--external", format!("net[{inode}]:{NETWORK}"));
    }
    let streams = [0, 1, 2].map(|number| stream(first.pid, number));
    for name in streams.iter().filter(|name| name.starts_with("file[")) {
        criu.pair("--external", name.clone());
    }
    let file = criu.images.join(STREAMS);
    let text = serde_json::to_vec(&streams).map_err(|source| Failure::Json { path: file.clone(), source })?;
    std::fs::write(&file, text).map_err(|source| Failure::File { step: "write", path: file, source })?;
    let ended = criu.command().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    criu.check(ended.map_err(Failure::criu)?)?;
    if !goes_on {
        delete::take_away(program, &place, Some(&record))?;
    }
    Ok(0)
}

/// Where memory goes, or is asked for.
fn serve_pages(criu: &mut Criu, words: &Words) -> Result<(), Failure> {
    if let Some(server) = words.value("page-server") {
        let invalid = || Failure::Value { flag: "page-server", value: server.into(), expected: "ADDRESS:PORT" };
        let (address, port) = server.rsplit_once(':').filter(|(address, _)| !address.is_empty()).ok_or_else(invalid)?;
        port.parse::<u16>().map_err(|_| invalid())?;
        criu.switch("--page-server");
        criu.pair("--address", address.trim_matches(['[', ']']).into());
        criu.pair("--port", port.into());
    }
    if let Some(number) = words.number::<u32>("status-fd")? {
        if !Path::new(&format!("/proc/self/fd/{number}")).exists() {
            let value = number.to_string();
            return Err(Failure::Value { flag: "status-fd", value, expected: "the number of an open descriptor" });
        }
        criu.pair("--status-fd", number.to_string());
    }
    Ok(())
}

/// Its other end is nobody's to give back.
pub(crate) fn refuse_terminal(spec: &Spec) -> Result<(), Failure> {
    match spec.process().as_ref().and_then(|process| process.terminal()) {
        Some(true) => Err(Failure::Unsupported {
            what: "a checkpoint of a container with a terminal".into(),
            instead: "run it without process.terminal",
        }),
        _ => Ok(()),
    }
}

/// The network namespace that the container joins.
pub(crate) fn network(spec: &Spec) -> Option<PathBuf> {
    let namespaces = spec.linux().as_ref()?.namespaces().as_ref()?;
    namespaces.iter().find(|n| n.typ() == LinuxNamespaceType::Network)?.path().clone()
}

/// The name of a stream for CRIU: that of a pipe, of a file outside of the container, or nothing for what CRIU opens itself.
fn stream(pid: i32, number: i32) -> String {
    let path = format!("/proc/{pid}/fd/{number}");
    let Ok(target) = std::fs::read_link(&path) else { return String::new() };
    let target = target.to_string_lossy();
    if target.starts_with("pipe:") || target.starts_with("socket:") {
        return target.into_owned();
    }
    let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
    let info = read(&format!("fdinfo/{number}"));
    let mount = info.lines().find_map(|line| line.strip_prefix("mnt_id:")?.trim().parse::<u64>().ok());
    let (Some(mount), Ok(file)) = (mount, std::fs::metadata(Path::new(&path))) else { return String::new() };
    let is_inside = read("mountinfo").lines().any(|line| line.split(' ').next() == Some(&mount.to_string()));
    if is_inside { String::new() } else { format!("file[{mount:x}:{:x}]", file.ino()) }
}
