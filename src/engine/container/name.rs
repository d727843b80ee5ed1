//! Names for containers that were given none: an adjective and a plant or a stone.

const ADJECTIVES: [&str; 64] = [
    "agile", "amber", "ample", "azure", "bold", "brave", "bright", "brisk", "calm", "candid", "civil", "clever",
    "coral", "crisp", "dapper", "daring", "deft", "eager", "early", "easy", "fair", "fancy", "fleet", "fluent", "fond",
    "frank", "fresh", "gentle", "glad", "golden", "grand", "hardy", "hasty", "honest", "humble", "jolly", "keen",
    "kind", "light", "lively", "lucid", "lucky", "mellow", "merry", "mild", "modest", "neat", "nimble", "noble",
    "patient", "plucky", "polite", "prompt", "proud", "quick", "quiet", "rapid", "sage", "serene", "silver", "spry",
    "steady", "tidy", "witty",
];

const NOUNS: [&str; 64] = [
    "acacia", "agate", "alder", "almond", "amethyst", "ash", "aspen", "aster", "basalt", "beech", "beryl", "birch",
    "bramble", "cedar", "cherry", "chestnut", "clover", "cobalt", "cypress", "dahlia", "elder", "elm", "fennel",
    "fern", "fig", "flint", "garnet", "gneiss", "granite", "hazel", "heather", "holly", "iris", "ivy", "jade",
    "jasmine", "jasper", "juniper", "larch", "laurel", "lichen", "lilac", "lotus", "maple", "marble", "mica", "moss",
    "myrtle", "oak", "olive", "onyx", "opal", "pebble", "pine", "poplar", "quartz", "reed", "rowan", "sorrel", "slate",
    "thyme", "topaz", "willow", "yew",
];

/// A name made of random bytes; `attempt` above 0 appends a number, for those who have thousands of containers.
pub fn made_up(random: [u8; 4], attempt: u32) -> String {
    let adjective = ADJECTIVES[usize::from(random[0]) % ADJECTIVES.len()];
    let noun = NOUNS[usize::from(random[1]) % NOUNS.len()];
    match attempt {
        0 => format!("{adjective}_{noun}"),
        _ => format!("{adjective}_{noun}{}", u16::from_le_bytes([random[2], random[3]])),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn all_are_names() {
        for first in 0..=255 {
            for attempt in [0, 1] {
                let name = super::made_up([first, 255 - first, 7, first], attempt);
                assert!(types::id::is_name(&name) && name.contains('_'), "{name}");
            }
        }
    }
}
