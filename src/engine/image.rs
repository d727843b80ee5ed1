//! Images as containers and users see them: brought, found, listed, described, removed.

mod bring;
mod list;
mod remove;
