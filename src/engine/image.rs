//! Images as containers and users see them: brought, found, listed, described, removed.

mod between;
mod bring;
pub(crate) mod change;
mod history;
mod import;
mod list;
mod login;
mod name;
mod prune;
mod remove;
mod send;
