//! A new container that is as another one was decided to be.

use super::config::Config;
use super::facts::Facts;
use crate::Engine;
use ops::container::{Created, Duplicate};
use ops::{Fault, Kind};
use types::Id;

impl Engine {
    /// Makes a container of another one's configuration: with a name and an id of its own, and without the addresses that
    /// only one can have. Its files begin anew with the image.
    pub fn duplicate(&self, asked: &Duplicate) -> Result<Created, Fault> {
        self.host()?;
        let record = self.settle(self.record_of(&asked.name)?)?.ok_or_else(|| super::init::no_such(&asked.name))?;
        let mut config = self.database()?.config(record.seq)?;
        config.resources =
            super::resolve::resources(&super::update::merged(&config.resources, &asked.resources), self.facts()?)?;
        if let Some(image) = &asked.image {
            let found = self.store()?.find_image(image).map_err(crate::fault::store)?;
            config.image_id = found.id.hex();
            config.image = found.matched.unwrap_or_else(|| found.id.hex());
        }
        if config.namespaces.user_mode.starts_with("auto") {
            // Ids that no other container has are others for each.
            let image = format!("sha256:{}", config.image_id).parse()?;
            let largest_id = self.store()?.largest_id(&image).map_err(crate::fault::store)?;
            let facts = Facts { free_ids: self.free_ids()?, largest_id, ..self.facts()?.clone() };
            let map = super::resolve::automatic_map(&config.namespaces.user_mode, Some(&config.user), &facts)?;
            config.namespaces.user = Some(map);
        }
        let id = Id::from_random(super::create::random()?);
        own(&mut config, &id, &record.name);
        let mut attempt = 0;
        loop {
            config.name = match (&asked.new_name, attempt) {
                (Some(name), _) => name.clone(),
                (None, 0) => format!("{}-clone", record.name),
                (None, number) => format!("{}-clone{number}", record.name),
            };
            if !types::id::is_name(&config.name) {
                return Err(Fault::invalid(format!(
                    "names must match [a-zA-Z0-9][a-zA-Z0-9_.-]*: invalid argument: {:?}",
                    config.name
                )));
            }
            match self.database()?.insert(&config, super::now()) {
                Err(fault) if fault.kind == Kind::Conflict && asked.new_name.is_none() && attempt < 1000 => {
                    attempt += 1;
                    continue;
                }
                other => other?,
            }
            self.copy_secrets_or_remove(&config)?;
            self.tell(&config, "create");
            return Ok(Created { id, name: config.name, warnings: Vec::new() });
        }
    }
}

/// Makes the configuration that of the container `id`: what told the old one's id or name is the new one's.
fn own(config: &mut Config, id: &Id, old_name: &str) {
    let old = std::mem::replace(&mut config.id, id.clone());
    if config.hostname == old.short() {
        config.hostname = id.short().to_owned();
    }
    for variable in &mut config.environment {
        if *variable == format!("HOSTNAME={}", old.short()) {
            *variable = format!("HOSTNAME={}", id.short());
        }
    }
    for attachment in &mut config.attachments {
        attachment.addresses.clear();
        attachment.mac = None;
        attachment.aliases.retain(|alias| alias != old_name);
        for alias in attachment.aliases.iter_mut().filter(|alias| *alias == old.short()) {
            *alias = id.short().to_owned();
        }
    }
    // Who made the old one for a moment did not mean the new one.
    (config.remove, config.remove_image) = (false, false);
    config.cid_file = None;
    (config.life.pid_file, config.life.monitor_pid_file) = (None, None);
    config.log.path = None;
}
