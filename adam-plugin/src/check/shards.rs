//! The shards of an index, one by one.

use std::path::Path;

use super::index;
use super::report::{CheckReport, Kind};
use crate::error::PluginError;
use crate::folder::Contents;
use crate::shards::{SHARDS_FILE, ShardFolders, ShardManifest, Shards};

const MAKE_AGAIN: &str = "remove it and make this shard again, with the call that made it";

pub(super) fn check(folder: &Path) -> Result<CheckReport, PluginError> {
    let mut report = CheckReport::new(Kind::Index);
    report.files += 1;
    let list = match Shards::open(folder) {
        Ok(Some(list)) => list,
        Ok(None) => return Ok(report),
        Err(fault) => {
            report.damage(
                folder.join(SHARDS_FILE),
                fault.to_string(),
                "make any shard of the index again; that writes the list anew",
            );
            return Ok(report);
        }
    };
    for shard in list.folders(folder) {
        if !shard.is_dir() {
            report.damage(shard, "is missing", MAKE_AGAIN);
            continue;
        }
        match ShardManifest::read(&shard) {
            Ok(Some(_)) => report.files += 1,
            Ok(None) => report.damage(&shard, "has no manifest of a shard", MAKE_AGAIN),
            Err(fault) => report.damage(&shard, fault.to_string(), MAKE_AGAIN),
        }
        let found = index::check(&shard, Contents::of(&shard)?)?;
        report.files += found.files;
        report.bytes += found.bytes;
        report.documents += found.documents;
        report.findings.extend(found.findings);
    }
    // Whether they are of one kind, once each is whole.
    if !report.is_damaged()
        && let Err(fault) = ShardFolders::open(folder, list)
    {
        report.damage(folder, fault.to_string(), MAKE_AGAIN);
    }
    Ok(report)
}
