//! `rename`: gives a container another name.

use super::Verb;
use crate::failure::Failure;
use crate::program::{Program, plain};

/// The verb.
pub const VERB: Verb<()> = Verb {
    path: "rename",
    usage: "CONTAINER NAME",
    about: "Rename an existing container",
    examples: &["containerA newName"],
    interspersed: true,
    flags: &[],
    execute,
};

fn execute(program: &Program, _: (), arguments: Vec<String>) -> Result<u8, Failure> {
    let [name, new] = arguments.as_slice() else {
        return Err(Failure::new("rename takes the name of a container and its new name"));
    };
    program.engine()?.rename(name, new).map_err(plain)?;
    Ok(0)
}
