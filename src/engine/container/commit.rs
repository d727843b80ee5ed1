//! `commit`: what a container changed becomes the top layer of a new image.

use super::config::Config;
use crate::image::change::{apply, list, merge, section, strings};
use crate::{Engine, fault};
use ops::container::{Commit, Status};
use ops::{Fault, Kind};
use serde_json::{Map, Value, json};
use store::{Descriptor, Manifest, NewImage};
use types::{Digest, Reference};

const DOCKER_CONFIGURATION: &str = "application/vnd.docker.container.image.v1+json";

/// Variables that every container gets by itself, and that are not the image's unless it had them.
const OWN: &[&str] = &[
    "container",
    "HOSTNAME",
    "TERM",
    "http_proxy",
    "https_proxy",
    "ftp_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "FTP_PROXY",
    "NO_PROXY",
];

impl Engine {
    /// Makes an image of a container; the container may run. Returns the image's id.
    pub fn commit(&self, asked: &Commit) -> Result<Digest, Fault> {
        self.host()?;
        let record = self.settle(self.record_of(&asked.name)?)?.ok_or_else(|| super::init::no_such(&asked.name))?;
        let config = self.database()?.config(record.seq)?;
        let name = asked
            .image
            .as_deref()
            .map(|name| name.parse::<Reference>().map(|name| name.normalised("localhost").to_string()))
            .transpose()?;
        if config.root_directory.is_some() {
            return Err(Fault::new(
                Kind::Unsupported,
                format!(
                    "container {} was made of a directory (--rootfs), and there is no image that its layer could be on",
                    record.id
                ),
            )
            .hint("export it, and import what was written"));
        }
        let parent: Digest = format!("sha256:{}", config.image_id).parse()?;
        // A change that makes no sense is told before anything is read.
        let base = self.parent(&parent)?;
        let mut configuration = base.configuration.clone();
        describe(&mut configuration, &config, asked.include_volumes);
        if let Some(text) = &asked.configuration {
            merge(&mut configuration, text)?;
        }
        for change in &asked.changes {
            apply(&mut configuration, change)?;
        }
        let paused = asked.pause && self.observe(&record).status == Status::Running;
        if paused {
            self.pause(record.id.as_str())?;
        }
        let layer = self.bring_layer(asked, &record.id, &config);
        if paused {
            self.unpause(record.id.as_str())?;
        }
        let mut layer = layer?;
        if self.drops_blobs(None)? {
            self.store()?.drop_blob(&mut layer).map_err(fault::store)?;
        }
        let descriptor = Descriptor {
            media_type: layer_type("application/vnd.oci.image.layer.v1.tar", asked.docker),
            digest: layer.digest(),
            size: layer.size(),
        };
        let mut layers = if asked.squash { Vec::new() } else { base.layers };
        for below in &mut layers {
            below.media_type = layer_type(&below.media_type, asked.docker);
        }
        layers.push(descriptor);
        finish(&mut configuration, asked, layer.diff_id(), &config)?;
        let configuration = serde_json::to_vec(&configuration).map_err(Fault::internal)?;
        let media_type = if asked.docker { store::DOCKER_MANIFEST } else { store::OCI_MANIFEST };
        let manifest = Manifest {
            schema_version: 2,
            media_type: Some(media_type.into()),
            config: Descriptor {
                media_type: if asked.docker { DOCKER_CONFIGURATION } else { store::OCI_CONFIGURATION }.into(),
                digest: Digest::of(&configuration),
                size: configuration.len() as u64,
            },
            layers,
        };
        let manifest = serde_json::to_vec(&manifest).map_err(Fault::internal)?;
        let names: Vec<String> = name.into_iter().collect();
        let image = self
            .store()?
            .commit_image(NewImage {
                manifest: &manifest,
                media_type,
                config: &configuration,
                names: &names,
                candidates: vec![layer],
            })
            .map_err(fault::store)?;
        let name = names.first().cloned().unwrap_or_default();
        self.tell_more(&record, "commit", |event| event.image = name);
        Ok(image.id)
    }

    fn parent(&self, id: &Digest) -> Result<Parent, Fault> {
        let store = self.store()?;
        let gone = || {
            Fault::new(
                Kind::NotFound,
                format!("image {} of the container is gone, and with it what it is made of", id.hex()),
            )
        };
        let image = store.find_image(&id.hex()).map_err(fault::store)?;
        let document = |digest: &Digest| store.document(digest).map_err(fault::store)?.ok_or_else(gone);
        let manifest = Manifest::parse(&document(&image.manifest)?).map_err(fault::store)?;
        let configuration: Value = serde_json::from_slice(&document(&image.id)?).map_err(Fault::internal)?;
        let Value::Object(configuration) = configuration else { return Err(gone()) };
        Ok(Parent { configuration, layers: manifest.layers })
    }

    /// The tar of the layer goes from here to the store's threads through a pipe.
    fn bring_layer(&self, asked: &Commit, id: &types::Id, config: &Config) -> Result<store::Candidate, Fault> {
        let (reader, mut writer) = store::pipe::pipe();
        let store = self.store()?;
        std::thread::scope(|scope| {
            let ingest = scope.spawn(move || store.ingest_packed(reader));
            let packed = if asked.squash {
                self.export_quietly(id.as_str(), &mut writer)
            } else {
                self.pack_layer(id, config, &mut writer).map_err(fault::store)
            };
            drop(writer);
            let layer = ingest.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            // A reader that stopped is why nothing could be written.
            let layer = layer.map_err(fault::store);
            match (packed, layer) {
                (Ok(()), layer) => layer,
                (Err(problem), Ok(_)) => Err(problem),
                (Err(_), Err(problem)) => Err(problem),
            }
        })
    }
}

struct Parent {
    configuration: Map<String, Value>,
    layers: Vec<Descriptor>,
}

fn layer_type(of: &str, docker: bool) -> String {
    let compression = if of.ends_with("gzip") {
        "gzip"
    } else if of.ends_with("zstd") {
        "zstd"
    } else {
        ""
    };
    match (docker, compression) {
        (true, "") => "application/vnd.docker.image.rootfs.diff.tar".into(),
        (true, kind) => format!("application/vnd.docker.image.rootfs.diff.tar.{kind}"),
        (false, "") => "application/vnd.oci.image.layer.v1.tar".into(),
        (false, kind) => format!("application/vnd.oci.image.layer.v1.tar+{kind}"),
    }
}

/// What the container runs, as the image's configuration.
fn describe(configuration: &mut Map<String, Value>, config: &Config, include_volumes: bool) {
    let process = section(configuration, "config");
    let known: Vec<String> = strings(process.get("Env"));
    let environment: Vec<&String> = config
        .environment
        .iter()
        .filter(|entry| {
            let key = entry.split('=').next().unwrap_or_default();
            !OWN.contains(&key) || known.contains(entry)
        })
        .collect();
    process.insert("Env".into(), json!(environment));
    if !config.command.is_empty() {
        process.insert("Cmd".into(), json!(config.command));
    }
    if !config.entrypoint.is_empty() {
        process.insert("Entrypoint".into(), json!(config.entrypoint));
    }
    if !config.user.is_empty() {
        process.insert("User".into(), json!(config.user));
    }
    process.insert("WorkingDir".into(), json!(config.working_directory));
    if !config.labels.is_empty() {
        process.insert("Labels".into(), json!(config.labels));
    }
    if include_volumes {
        let volumes = section(process, "Volumes");
        for mount in &config.mounts {
            volumes.insert(mount.destination.clone(), json!({}));
        }
    }
}

fn finish(
    configuration: &mut Map<String, Value>,
    asked: &Commit,
    diff_id: Digest,
    config: &Config,
) -> Result<(), Fault> {
    let now = jiff::Timestamp::now().to_string();
    configuration.insert("created".into(), json!(now));
    if !asked.author.is_empty() {
        configuration.insert("author".into(), json!(asked.author));
    }
    let rootfs = section(configuration, "rootfs");
    rootfs.insert("type".into(), json!("layers"));
    let mut diff_ids = if asked.squash { Vec::new() } else { list(rootfs.get("diff_ids")) };
    diff_ids.push(json!(diff_id.to_string()));
    rootfs.insert("diff_ids".into(), Value::Array(diff_ids));
    let mut history = if asked.squash { Vec::new() } else { list(configuration.get("history")) };
    let mut entry = json!({ "created": now, "created_by": config.arguments.join(" ") });
    if !asked.author.is_empty() {
        entry["author"] = json!(asked.author);
    }
    if !asked.message.is_empty() {
        entry["comment"] = json!(asked.message);
    }
    history.push(entry);
    configuration.insert("history".into(), Value::Array(history));
    // What Docker says of the container an image came from is another's.
    for key in ["container", "container_config", "parent", "id"] {
        configuration.remove(key);
    }
    for key in ["architecture", "os"] {
        if configuration.get(key).and_then(Value::as_str).is_none_or(str::is_empty) {
            return Err(Fault::invalid(format!("the image of the container does not say its {key}")));
        }
    }
    Ok(())
}
