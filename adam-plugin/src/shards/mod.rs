//! One index in several folders, its shards, each an index of its own.
//!
//! ```text
//! INDEX/
//!   SHARDS                  which shards there are; written last, by rename
//!   job-1a2b3c4d5e6f/       all shards that were made by one job: the same input, model and options
//!     shard-0000/           an index of adam
//!       .shard.json         what it was made of
//!     shard-0001/
//! ```
//!
//! Shards are made one at a time, in any order, by any number of processes or machines that share the folder ([`ShardJob`]). There is no
//! driver: whoever makes the last one writes `SHARDS`. One that is there and was made of the same rows is left as it is.
//!
//! [`Engine::open`](crate::Engine::open) opens the whole as it opens one folder, and searches answer as those of one index with the same
//! documents, to the bit: tantivy sees one index whose segments lie in several folders, so statistics, windows and fusion are those of
//! all documents, and equal scores are ordered by key. That holds for exact vector search, once deleted documents
//! are merged away: BM25 counts these until then.
//!
//! Writers write to one shard each: [`Shards::open`] names the folder, and [`Placement`] says which shard a key belongs to.

mod directory;
mod job;
mod list;
mod manifest;
mod placement;

pub(crate) use directory::ShardFolders;
pub use job::{ShardJob, ShardState};
pub(crate) use list::SHARDS_FILE;
pub use list::{Shard, Shards};
pub use manifest::ShardManifest;
pub use placement::{Content, Part, Placement};
