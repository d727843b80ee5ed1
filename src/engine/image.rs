//! Images as containers and users see them: brought, found, listed, described, removed.

mod between;
mod bring;
mod list;
mod login;
mod remove;
mod send;
