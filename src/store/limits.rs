//! Limits on what strangers send. They are far above what real images have, and far below what hurts the host.

/// Largest manifest, in bytes (as the distribution specification recommends to registries).
pub const MANIFEST: usize = 4 << 20;
/// Largest image configuration, in bytes.
pub const CONFIGURATION: usize = 8 << 20;
/// Most layers of an image: the kernel's overlay takes no more than 500 lower directories.
pub const LAYERS: usize = 500;
/// Longest name of an entry or target of a link, in bytes: the kernel's PATH_MAX with its final zero.
pub const PATH: usize = 4095;
/// Longest component of a name, in bytes.
pub const NAME: usize = 255;
/// Largest extended header (PAX, GNU long name), in bytes.
pub const EXTENDED: u64 = 1 << 20;
/// Most entries of one layer.
pub const ENTRIES: u64 = 8_000_000;
/// Largest unpacked layer, in bytes: what no disk we know holds is a bomb.
pub const UNPACKED: u64 = 16 << 40;
/// Most pieces of a sparse file.
pub const PIECES: usize = 1 << 20;
/// Space that unpacking leaves free on the disk, in bytes; on a small disk a sixteenth of it.
pub const RESERVE_BYTES: u64 = 64 << 20;
/// Inodes that unpacking leaves free on the disk.
pub const RESERVE_INODES: u64 = 1000;
/// The free space is looked at whenever this many bytes were written.
pub const CHECK_BYTES: u64 = 64 << 20;
/// The free space is looked at whenever this many entries were created.
pub const CHECK_ENTRIES: u64 = 4096;
