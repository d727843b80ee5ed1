//! The end-to-end tests: they run the built file as a user does, each test with a root and a run root of its own, in
//! mount namespaces of its own where it bends the machine. The file is `$MONOPOD`, or what cargo built beside the tests.
//!
//! Must not know: any room. What is not told by exit codes, output and the kernel is not tested here.

mod artifacts;
mod attach;
mod bench;
mod between;
mod binary;
mod confinement;
mod copies;
mod debian;
mod engines;
mod events;
mod exec;
mod faults;
mod files;
mod flags;
mod home;
mod hostile;
mod hostile_registry;
mod image;
mod inspect;
mod lent;
mod life;
mod lifecycle;
mod limits;
mod lists;
mod local;
mod logs;
mod minimal;
mod names;
mod network_faults;
mod network_verbs;
mod networks;
mod options;
mod outward;
mod peer;
mod ps;
mod registries;
mod registry;
mod rootless;
mod runtime;
mod security;
mod signatures;
mod skopeo;
mod storage;
mod system;
mod terminal;
mod transports;
mod trust;
mod usernet;
mod userns;
mod verbs;
mod vm;
mod volumes;
mod world;
