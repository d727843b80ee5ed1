//! `create`: a container, without starting it.

use super::create_flags::{self, Asked};
use super::{Verb, life_flags, program_flags, resource_flags};
use crate::failure::Failure;
use crate::program::{Program, print};
use crate::progress::Progress;
use ops::container::{Create, Created};

/// The verb.
pub const VERB: Verb<Asked> = Verb {
    path: "create",
    usage: "IMAGE [COMMAND [ARG...]]",
    about: "Create but do not start a container",
    examples: &["busybox sh", "--name db -e KEY=value oci-archive:image.tar"],
    interspersed: false,
    flags: &[
        create_flags::FLAGS,
        program_flags::PROGRAM,
        program_flags::INIT,
        resource_flags::LIMITS,
        resource_flags::FIXED,
        resource_flags::PROCESS,
        life_flags::RESTART,
        life_flags::HEALTH,
        life_flags::FLAGS,
    ],
    execute,
};

fn execute(program: &Program, mut asked: Asked, arguments: Vec<String>) -> Result<u8, Failure> {
    if !asked.attach.is_empty() {
        return Err(Failure::new("--attach is not supported by \"create\": give it to \"start\""));
    }
    let request = asked.finish(program, arguments)?;
    let created = create(program, &program.engine()?, &request, asked.quiet)?;
    print(&format!("{}\n", created.id))?;
    Ok(0)
}

/// Makes the container, telling about its image and about what it goes without on standard error.
pub fn create(program: &Program, engine: &engine::Engine, request: &Create, quiet: bool) -> Result<Created, Failure> {
    let progress = Progress::new(quiet);
    let created = engine.create(request, &|step| progress.tell(step))?;
    for warning in &created.warnings {
        program.warn(warning);
    }
    Ok(created)
}
