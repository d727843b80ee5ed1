//! What the intermediate does for the first process from the host's side while that waits, its mounts made and its root not
//! yet changed: scheduling, which may need rights of the host's, network devices of the host's, and the hooks of the runtime's side.
//!
//! They meet by two pipes: the first process writes a byte when it is ready, and goes on when it gets one.

use crate::error::{Context, Error};
use crate::hooks::{self, Moment};
use crate::launch::Create;
use crate::net_devices::NetDevices;
use crate::scheduling::Scheduling;
use oci_spec::runtime::State;
use std::os::fd::OwnedFd;

/// The work to do, and the intermediate's ends of the pipes.
#[derive(Debug)]
pub struct Outside<'a> {
    create: &'a Create,
    scheduling: Scheduling,
    devices: Option<NetDevices>,
    has_hooks: bool,
}

impl<'a> Outside<'a> {
    /// Looks at what there is to do; before any namespace is joined.
    pub fn prepare(
        create: &'a Create,
        scheduling: Scheduling,
        devices: Option<NetDevices>,
    ) -> Result<Outside<'a>, Error> {
        hooks::check(&create.spec)?;
        let has_hooks = [Moment::Prestart, Moment::CreateRuntime].iter().any(|m| !m.hooks(&create.spec).is_empty());
        Ok(Outside { create, scheduling, devices, has_hooks })
    }

    /// Whether there is anything: else nobody waits.
    pub fn is_needed(&self) -> bool {
        self.has_hooks || self.scheduling.is_asked() || self.devices.is_some()
    }

    /// Waits until first process `pid` is ready, and does the work. False if the process ended before, having reported why.
    pub fn serve(self, pid: i32, ready: &OwnedFd) -> Result<bool, Error> {
        let mut byte = [0u8; 1];
        if rustix::io::retry_on_intr(|| rustix::io::read(ready, &mut byte)).step("wait for the first process")? == 0 {
            return Ok(false);
        }
        self.scheduling.apply(pid)?;
        if let Some(devices) = self.devices {
            devices.serve(pid)?;
        }
        for moment in [Moment::Prestart, Moment::CreateRuntime] {
            let list = moment.hooks(&self.create.spec);
            if !list.is_empty() {
                hooks::run(moment, list, &state(self.create, moment, pid))?;
            }
        }
        Ok(true)
    }
}

/// What hooks of a moment before the program's start are told.
pub fn state(create: &Create, moment: Moment, pid: i32) -> State {
    hooks::state(&create.spec, &create.id, &create.bundle, moment.status(), Some(pid))
}
