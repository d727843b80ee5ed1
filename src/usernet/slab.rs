//! Things with short numbers that are used again, and the words by which the kernel names them when something happens to
//! one. A word for a thing that is gone, whose number another has now, finds nothing.

/// What an event is about: which kind of thing, which part of it, which one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Word {
    pub kind: u8,
    pub part: u8,
    pub key: Key,
}

/// One of the things in a [`Slab`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    index: u32,
    generation: u16,
}

impl Key {
    /// Of what there is only one of.
    pub const ONLY: Key = Key { index: 0, generation: 0 };
}

impl Word {
    pub fn to_number(self) -> u64 {
        u64::from(self.kind) << 56
            | u64::from(self.part) << 48
            | u64::from(self.key.generation) << 32
            | u64::from(self.key.index)
    }

    pub fn from_number(number: u64) -> Word {
        let key = Key { index: number as u32, generation: (number >> 32) as u16 };
        Word { kind: (number >> 56) as u8, part: (number >> 48) as u8, key }
    }
}

/// See above.
#[derive(Debug)]
pub(crate) struct Slab<T> {
    places: Vec<(u16, Option<T>)>,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Slab<T> {
        Slab { places: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slab<T> {
    pub fn insert(&mut self, thing: T) -> Key {
        let index = self.free.pop().unwrap_or_else(|| {
            self.places.push((0, None));
            self.places.len() as u32 - 1
        });
        let place = &mut self.places[index as usize];
        place.1 = Some(thing);
        Key { index, generation: place.0 }
    }

    pub fn get(&self, key: Key) -> Option<&T> {
        self.places.get(key.index as usize).filter(|p| p.0 == key.generation)?.1.as_ref()
    }

    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        self.places.get_mut(key.index as usize).filter(|p| p.0 == key.generation)?.1.as_mut()
    }

    pub fn remove(&mut self, key: Key) -> Option<T> {
        let place = self.places.get_mut(key.index as usize).filter(|p| p.0 == key.generation)?;
        let thing = place.1.take()?;
        place.0 = place.0.wrapping_add(1);
        self.free.push(key.index);
        Some(thing)
    }

    pub fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.places.iter().enumerate().filter_map(|(index, (generation, thing))| {
            Some((Key { index: index as u32, generation: *generation }, thing.as_ref()?))
        })
    }

    /// The keys of those that `chosen` is true for.
    pub fn keys(&self, mut chosen: impl FnMut(&T) -> bool) -> Vec<Key> {
        self.iter().filter(|(_, thing)| chosen(thing)).map(|(key, _)| key).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_used_again_is_another_thing() {
        let mut slab = Slab::default();
        let a = slab.insert('a');
        let b = slab.insert('b');
        assert_eq!(slab.remove(a), Some('a'));
        let c = slab.insert('c');
        assert_eq!((slab.get(a), slab.get(b), slab.get(c)), (None, Some(&'b'), Some(&'c')));
        assert_eq!(slab.remove(a), None);
        assert_eq!((slab.len(), slab.keys(|t| *t == 'c')), (2, vec![c]));
        let word = Word { kind: 7, part: 1, key: c };
        assert_eq!(Word::from_number(word.to_number()), word);
    }
}
