//! Images out of the store: saved to archives and directories, pushed to registries.

use super::{Told, encryption};
use crate::{Engine, fault};
use ops::Fault;
use ops::image::{Access, Compression, Push, Pushed, Save, Signing, Watch};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use transfer::{Change, Form, Output, Saving, Signatures, Signer, Source, Wishes};
use types::Reference;

impl Engine {
    /// Saves images; into `pipe` if the request names no file.
    pub fn save(&self, asked: &Save, pipe: Box<dyn std::io::Write + Send>, watch: &Watch<'_>) -> Result<(), Fault> {
        let output = match &asked.output {
            Some(path) => Output::Path(path.clone()),
            None => Output::Writer(pipe),
        };
        let directory = |format: &str| {
            asked.output.clone().ok_or_else(|| {
                Fault::invalid(format!("a directory is needed to save in the format {format}")).hint("use --output")
            })
        };
        let saving = match asked.format.as_deref().unwrap_or("docker-archive") {
            "docker-archive" => Saving::DockerArchive(output),
            "oci-archive" => Saving::OciArchive(output),
            "oci-dir" => Saving::OciDirectory(directory("oci-dir")?),
            "docker-dir" => Saving::DockerDirectory(directory("docker-dir")?),
            other => {
                return Err(Fault::invalid(format!(
                    "unknown format {other:?}: choose docker-archive, oci-archive, oci-dir or docker-dir"
                )));
            }
        };
        let images = self.to_save(asked)?;
        // What is saved is as it was wherever the format allows that, and so are its signatures.
        let change = Change { signatures: Signatures::IfValid, ..Change::default() };
        let wishes = Wishes { change, compress: asked.compress, plain: asked.uncompressed, ..Wishes::default() };
        transfer::save(self.store()?, &images, saving, &wishes, &Told(watch)).map_err(fault::transfer)?;
        let to = asked.output.as_ref().map_or("-".into(), |path| path.to_string_lossy());
        for (image, _) in &images {
            self.tell_of("image", "save", &image.id.hex(), &to);
        }
        Ok(())
    }

    /// The images with the names they get in the archive.
    pub(super) fn to_save(&self, asked: &Save) -> Result<Vec<(store::Image, Vec<String>)>, Fault> {
        let (first, rest) = asked.images.split_first().ok_or_else(|| Fault::invalid("no image was named"))?;
        let find = |name: &str| {
            let platform = asked.platform.as_deref();
            let found = match self.store()?.find_image(name) {
                Err(store::Error::NoSuchImage { name: missing }) => match self.image_of_list(name, platform)? {
                    // It is saved under the list's name.
                    Some(image) => Ok(store::Image { matched: super::name::complete(name).ok(), ..image }),
                    None if self.list_exists(name)? => {
                        let platform = platform.map_or_else(|| types::Platform::native().to_string(), str::to_owned);
                        return Err(Fault::new(
                            ops::Kind::NotFound,
                            format!("{name} is a list without an image for {platform} that is in the store"),
                        ));
                    }
                    None => Err(store::Error::NoSuchImage { name: missing }),
                },
                found => found,
            };
            let image = found.map_err(fault::store)?;
            if let Some(platform) = platform
                && !self.is_for(&image, platform)?
            {
                return Err(Fault::new(ops::Kind::NotFound, format!("{name} is not for {platform}"))
                    .hint("pull it with --platform first"));
            }
            Ok(image)
        };
        let matched = |image: &store::Image| image.matched.iter().cloned().collect::<Vec<_>>();
        if !asked.several {
            let image = find(first)?;
            let mut names = matched(&image);
            for name in rest {
                let name: Reference = name.parse()?;
                names.push(name.normalised("localhost").to_string());
            }
            return Ok(vec![(image, names)]);
        }
        // An image that is named twice is there once, under both names.
        let mut images: Vec<(store::Image, Vec<String>)> = Vec::new();
        let mut places = BTreeMap::new();
        for name in &asked.images {
            let image = find(name)?;
            let names = matched(&image);
            let at = *places.entry(image.id).or_insert(images.len());
            match images.get_mut(at) {
                Some((_, known)) => known.extend(names),
                None => images.push((image, names)),
            }
        }
        Ok(images)
    }

    /// What is to be pushed for `asked`: with `all_tags`, every image of the store whose name is of that repository.
    pub fn push_names(&self, asked: &Push, all_tags: bool) -> Result<Vec<Push>, Fault> {
        if !all_tags {
            return Ok(vec![asked.clone()]);
        }
        let repository = |text: &str| match text.parse::<Reference>() {
            Ok(name) if name.tag.is_none() && name.digest.is_none() && !transfer::source::has_transport(text) => {
                Ok(name)
            }
            _ => Err(Fault::invalid("--all-tags needs names of repositories, without tags")),
        };
        let name = repository(&asked.image)?;
        let to = asked.destination.as_deref().map(|text| text.strip_prefix("docker://").unwrap_or(text));
        let to = to.map(repository).transpose()?;
        let meant = [name.normalised("localhost").repository(), transfer::source::complete(&name).repository()];
        let mut found = Vec::new();
        for image in self.store()?.images().map_err(fault::store)? {
            for own in &image.names {
                let Ok(reference) = own.parse::<Reference>() else { continue };
                if meant.contains(&reference.repository()) {
                    let destination = to
                        .as_ref()
                        .map_or(own.clone(), |to| Reference { tag: reference.tag.clone(), ..to.clone() }.to_string());
                    found.push(Push { image: own.clone(), destination: Some(destination), ..asked.clone() });
                }
            }
        }
        found.sort_by(|a, b| a.image.cmp(&b.image));
        match found.is_empty() {
            true => {
                Err(Fault::new(ops::Kind::NotFound, format!("{}: no image of this repository is known", asked.image)))
            }
            false => Ok(found),
        }
    }

    /// Writes an image to a registry, or to wherever the destination says.
    pub fn push(&self, asked: &Push, watch: &Watch<'_>) -> Result<Pushed, Fault> {
        let image = match self.store()?.find_image(&asked.image) {
            Err(store::Error::NoSuchImage { .. }) if self.list_exists(&asked.image)? => {
                if !asked.encryption.recipients.is_empty() {
                    return Err(Fault::new(
                        ops::Kind::Unsupported,
                        "lists are not encrypted: encrypt each image of it",
                    ));
                }
                return self.push_list(&asked.clone().into(), watch);
            }
            found => found.map_err(fault::store)?,
        };
        let destination = match &asked.destination {
            Some(destination) => destination.clone(),
            None => image.matched.clone().or_else(|| image.names.first().cloned()).ok_or_else(|| {
                Fault::invalid(format!("image {} has no name", image.id.short())).hint("name a destination")
            })?,
        };
        let to: Source = match transfer::source::parse(&destination).map_err(fault::transfer)? {
            Source::Name(name) => Source::Registry(name),
            other => other,
        };
        let registry = self.registry_options(&asked.access)?;
        let options = transfer::Options { registry, ..transfer::Options::default() };
        let mut wishes = wishes(asked.format.as_deref(), &asked.compression, &asked.signing)?;
        wishes.change.keys = encryption::keys(&asked.encryption, &asked.access)?;
        let written =
            transfer::push(self.store()?, &image, &to, &options, &wishes, &Told(watch)).map_err(fault::transfer)?;
        self.tell_of("image", "push", &image.id.hex(), &destination);
        Ok(Pushed { digest: written.digest })
    }

    /// How registries are talked to.
    pub(crate) fn registry_options(&self, asked: &Access) -> Result<transfer::Registry, Fault> {
        let mut registries = self.registries()?;
        if asked.tls_verify == Some(true) {
            registries.secure();
        }
        let mut registry = transfer::Registry {
            registries,
            auth_files: self.settings.auth_files.clone(),
            tls_verify: asked.tls_verify.unwrap_or(true),
            proxies: self.settings.transfer_proxies(),
            certificates: asked.certificates.clone(),
            certificate_roots: self.settings.certificate_roots.clone(),
            lookaside: self.settings.lookaside()?,
            attempts: asked.retry.unwrap_or(3).saturating_add(1),
            delay: asked.retry_delay,
            containers: self.settings.containers.clone(),
            ..transfer::Registry::default()
        };
        if let Some(file) = &asked.auth_file {
            registry.auth_files = vec![file.into()];
        }
        if let Some(host) = &asked.daemon {
            registry.daemon.clone_from(host);
        }
        if asked.anonymous {
            registry.auth_files.clear();
        }
        if let Some(credentials) = &asked.credentials {
            let (user, password) = credentials
                .split_once(':')
                .ok_or_else(|| Fault::invalid("credentials must be given as USER:PASSWORD"))?;
            registry.credentials = Some((user.to_owned(), password.to_owned()));
        }
        Ok(registry)
    }
}

/// What becomes of an image on its way.
pub(crate) fn wishes(format: Option<&str>, compression: &Compression, signing: &Signing) -> Result<Wishes, Fault> {
    let form = match format {
        None => None,
        Some("oci") => Some(Form::Oci),
        Some("v2s2" | "docker") => Some(Form::Docker),
        Some("v2s1") => {
            return Err(Fault::new(ops::Kind::Unsupported, "Docker's schema 1 is not written: use v2s2 or oci"));
        }
        Some(other) => return Err(Fault::invalid(format!("unknown format {other:?}: choose oci or v2s2"))),
    };
    let (wanted, chunked) = match compression.format.as_deref() {
        Some("zstd:chunked") => (Some(transfer::Compression::Zstd), true),
        format => (format.map(self::compression).transpose()?, false),
    };
    if let (Some(level), Some(wanted)) = (compression.level, wanted.or(Some(transfer::Compression::Gzip))) {
        let levels = if wanted == transfer::Compression::Zstd { 1..=20 } else { 1..=9 };
        if !levels.contains(&level) {
            let (least, most) = (levels.start(), levels.end());
            return Err(Fault::invalid(format!("compression level {level} is not between {least} and {most}")));
        }
    }
    let change = Change {
        form,
        compression: wanted,
        force: compression.force.unwrap_or(wanted.is_some()),
        chunked,
        level: compression.level,
        preserve: false,
        signatures: if signing.remove { Signatures::Drop } else { Signatures::Keep },
        keys: transfer::Keys::default(),
    };
    let identity = signing.identity.as_deref().map(str::parse::<Reference>).transpose()?;
    let identity = identity.map(|name| transfer::source::complete(&name));
    Ok(Wishes { change, compress: compression.compress, signers: signers(signing)?, identity, ..Wishes::default() })
}

/// A compression by its name.
pub(crate) fn compression(name: &str) -> Result<transfer::Compression, Fault> {
    match name {
        "gzip" => Ok(transfer::Compression::Gzip),
        "zstd" => Ok(transfer::Compression::Zstd),
        other => {
            Err(Fault::invalid(format!("unknown compression format {other:?}: choose gzip, zstd or zstd:chunked")))
        }
    }
}

/// Those who sign.
pub(crate) fn signers(signing: &Signing) -> Result<Vec<Signer>, Fault> {
    let read =
        |path: &Path| std::fs::read(path).map_err(|e| Fault::invalid(format!("cannot read the key {path:?}: {e}")));
    let passphrase_in = |path: &Path| -> Result<String, Fault> {
        let text = std::fs::read_to_string(path)
            .map_err(|e| Fault::invalid(format!("cannot read the passphrase in {path:?}: {e}")))?;
        Ok(text.lines().next().unwrap_or_default().to_owned())
    };
    let passphrase = signing.passphrase.as_deref().map(passphrase_in).transpose()?;
    let mut signers = Vec::new();
    let hint = |fault: Fault| match passphrase {
        None if fault.message.contains("none was given") => fault.hint("use --sign-passphrase-file"),
        _ => fault,
    };
    if let Some(path) = &signing.openpgp {
        if !path.is_file() {
            return Err(Fault::invalid(format!("--sign-by {path:?}: there is no such file"))
                .hint("name a file with the secret key: gpg --export-secret-keys KEY >FILE"));
        }
        let name = path.display().to_string();
        let signer = Signer::openpgp(&name, &read(path)?, passphrase.as_deref());
        signers.push(signer.map_err(fault::transfer).map_err(hint)?);
    }
    if let Some(path) = &signing.sigstore {
        let name = path.display().to_string();
        let signer = Signer::sigstore(&name, &read(path)?, passphrase.as_deref());
        signers.push(signer.map_err(fault::transfer).map_err(hint)?);
    }
    if let Some(path) = &signing.sigstore_parameters {
        let (key, passphrase) = parameters(path)?;
        let passphrase = passphrase.as_deref().map(passphrase_in).transpose()?;
        let signer = Signer::sigstore(&key.display().to_string(), &read(&key)?, passphrase.as_deref());
        signers.push(signer.map_err(fault::transfer)?);
    }
    Ok(signers)
}

/// The files of a key and of its passphrase that a file of parameters names.
fn parameters(path: &Path) -> Result<(PathBuf, Option<PathBuf>), Fault> {
    let bad = |why: String| Fault::invalid(format!("parameters for signing in {path:?}: {why}"));
    let text = std::fs::read_to_string(path).map_err(|e| bad(e.to_string()))?;
    let mut fields = transfer::parameters(&text).map_err(bad)?;
    for asks in ["fulcio", "rekorURL"] {
        if fields.contains_key(asks) {
            return Err(Fault::new(ops::Kind::Unsupported, format!("{path:?} names {asks}, which is not asked here"))
                .hint("sign with a key of your own: privateKeyFile, privateKeyPassphraseFile"));
        }
    }
    let (key, passphrase) = (fields.remove("privateKeyFile"), fields.remove("privateKeyPassphraseFile"));
    if let Some(unknown) = fields.keys().next() {
        return Err(bad(format!("{unknown:?} is not known")));
    }
    let key = key.filter(|key| !key.is_empty()).ok_or_else(|| bad("privateKeyFile is missing".into()))?;
    Ok((key.into(), passphrase.map(PathBuf::from)))
}
