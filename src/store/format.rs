//! The format on disk, version 1.
//!
//! ```text
//! ROOT/                     0711
//!   monopod.db              SQLite, write-ahead log; tables below (other rooms add theirs)
//!   monopod.db-wal, -shm    SQLite's
//!   ballast                 space given up when the disk is full
//!   blobs/sha256/HEX        layers as they came (gzip, zstd or plain tar), named by the digest of exactly these bytes
//!   layers/NAME/            one unpacked layer: what a lower directory of overlay looks like
//!   recipes/NAME            how the tar of layer NAME is made of its directory, where its blob is not kept (see `recipe`)
//!   mapped/NAME/            a layer as a container with a user namespace of its own needs it; see below
//!   snapshots/ID/upper/     what container ID changed (overlay)
//!   snapshots/ID/work/      overlay's own
//!   snapshots/ID/root/      the whole root of container ID, where overlay cannot be had
//!   empty/                  a lower directory for images without layers
//!   work/NAME/              something incomplete; see below
//! ```
//!
//! **Layers** are unpacked one by one, each independent of those below it, and shared by all images that list their
//! diff id. NAME is five characters of `a-z2-7`: 500 of them still fit into the one page of options of mount(2).
//! A removed file is a character device 0:0 (where there can be no such devices, in a user namespace of a kernel before
//! 5.8 and on a disk that is an overlay: an empty file with the attribute `user.overlay.whiteout`), a directory that hides what lies below it has
//! `trusted.overlay.opaque` (in a user namespace: `user.overlay.opaque`) = `y`.
//!
//! Where only one id is mapped, files and directories belong to it, and `user.containers.override_stat` =
//! `UID:GID:0MODE` (mode in octal) says whose they are meant to be if that is not `0:0`.
//!
//! **Mapped layers** are layers whose files have the owners that they would have in a user namespace with a certain map of
//! ids, for containers whose layers cannot be mounted with other owners. They are made when the first container with
//! that map needs them, and go with the last one, or if they are kept, with the layer. Where overlay has data layers, their regular
//! files are empty, with `redirect` = `/LAYER/PATH` (below `layers/`) and `metacopy`; else contents are copied.
//!
//! **Work.** Whatever is not complete yet, or not wanted any more, lies in `work/NAME/`, beside a file `lock` on which
//! its owner holds `flock(LOCK_EX)`. A directory whose lock is free was left by a killed command: whoever opens the
//! store takes the lock and removes it.
//!
//! ```text
//!   work/NAME/lock
//!   work/NAME/tree/         a layer being unpacked, or made of another; it becomes layers/NAME or mapped/NAME
//!   work/NAME/recipe        how its tar is made of it; becomes recipes/NAME, and then there is no blob
//!   work/NAME/HEX           its blob; linked to blobs/sha256/HEX (while it is being written: `blob`)
//!   work/NAME/layer-OTHER   OTHER is a layer, HEX a blob to be removed once no row knows it
//!   work/NAME/mapped-OTHER  OTHER is a mapped layer to be removed likewise
//!   work/NAME/…             trash: other names do not matter
//! ```
//!
//! **An image is published** like this: `work/NAME/HEX` is linked to `blobs/sha256/HEX`, `work/NAME/tree` is renamed to
//! `layers/NAME`, `syncfs`, and then one transaction adds layers, blobs, documents, image and names. A command that is
//! killed before that transaction leaves `work/NAME`, whose name and contents tell which layer and which blob no
//! row may know: what has no row is removed with it.
//!
//! **An image is removed** in one transaction, too. Before it, layers and blobs that nothing uses any more are marked in
//! a directory of `work/`; after it, in a second one that makes sure that still no row knows them, they are moved there;
//! then they are deleted.
//!
//! **Tables.** Digests are blobs of 32 bytes.
//!
//! ```text
//! layers(name, diff_id, bytes, entries, root_listed, root_opaque)
//!   root_listed: the layer says who owns its root directory; root_opaque: it hides all layers below it
//! blobs(digest, size, diff_id, dropped)        verified: the blob decompresses to a tar of that diff id; dropped: how it was
//!                                              compressed (`gzip`, `zstd`, or empty) if it is not kept
//! documents(digest, bytes)                     manifests and configurations, verbatim
//! images(id, config, manifest, media_type, created, size, labels, loaded)
//! image_layers(image, position, layer, blob)   position 0 is the bottom
//! names(name, image)
//! given_names(number, image, name)             the names that an image has, and those that it had, in their order
//! mapped_layers(name, layer, map, kept, referring)    map: text of the map; referring: regular files are empty
//! snapshots(container, driver, image, map)     map: that of its layers, if they are mapped
//! snapshot_layers(container, position, layer)  position 0 is the top
//! facts(name, value)                           what was probed, with the boot it is valid for
//! lists(name, id, bytes, sources)              indexes that are put together here; sources: manifest → where it is, JSON
//! signatures(manifest, bytes)                  those that came with an image; bytes: whatever the transfers make of them
//! ```
//!
//! `PRAGMA user_version` holds one byte for the version of each room's tables; the store's is the lowest.

/// File name of the database, in the store's root.
pub const DATABASE: &str = "monopod.db";
/// Directory of the verbatim blobs.
pub const BLOBS: &str = "blobs/sha256";
/// Directory of the unpacked layers.
pub const LAYERS: &str = "layers";
/// Directory of what the tars of layers without blobs are made by.
pub const RECIPES: &str = "recipes";
/// One of them, in a directory of [`WORK`].
pub const RECIPE: &str = "recipe";
/// Directory of layers with other owners.
pub const MAPPED: &str = "mapped";
/// Directory of the containers' own files.
pub const SNAPSHOTS: &str = "snapshots";
/// Directory of what is incomplete or unwanted.
pub const WORK: &str = "work";
/// File in a directory of [`WORK`] that its owner locks.
pub const LOCK: &str = "lock";
/// A layer being unpacked, in a directory of [`WORK`].
pub const TREE: &str = "tree";
/// A blob being written, in a directory of [`WORK`].
pub const BLOB: &str = "blob";
/// Prefix of files in a directory of [`WORK`] that name a layer to be removed.
pub const MARK: &str = "layer-";
/// The same of mapped layers.
pub const MAPPED_MARK: &str = "mapped-";
/// An empty directory: the lower one of an image without layers.
pub const EMPTY: &str = "empty";
/// Bytes of the [`BALLAST`].
pub const BALLAST_SIZE: usize = 1 << 20;
/// Space given up when the disk is full.
pub const BALLAST: &str = "ballast";
/// Prefix of the attributes by which overlay marks directories, in the initial user namespace.
pub const TRUSTED: &str = "trusted.overlay.";
/// The same inside a user namespace.
pub const USER: &str = "user.overlay.";
/// Attribute that keeps owner and mode where only one id is mapped: `UID:GID:0MODE`.
pub const OVERRIDE_STAT: &str = "user.containers.override_stat";

/// Name of the attribute `opaque` or `whiteout` in this kind of store.
pub(crate) fn overlay_attribute(in_user_namespace: bool, name: &str) -> String {
    format!("{}{name}", if in_user_namespace { USER } else { TRUSTED })
}
