package queue

import "hash/maphash"

// siteHash stands for a destination. Should two have the same, the recovery of
// one wakes mail of the other too soon, which does no harm.
type siteHash uint64

// siteName is a destination in words, as Change.Site records it: the transport
// and the key, with a space between them.
func siteName(d *destination) string { return d.transport.name + " " + d.key }

// site returns the hash of siteName(d).
func (w *waiting) site(d *destination) siteHash {
	var h maphash.Hash
	h.SetSeed(w.seed)
	_, _ = h.WriteString(d.transport.name)
	_ = h.WriteByte(' ')
	_, _ = h.WriteString(d.key)
	return someHash(h.Sum64())
}

// siteNamed is site for the name alone; "" is no site.
func (w *waiting) siteNamed(name string) siteHash {
	if name == "" {
		return 0
	}
	return someHash(maphash.String(w.seed, name))
}

func someHash(h uint64) siteHash { return siteHash(max(h, 1)) }

// sites are the destinations whose recovery wakes messages. They are not
// destinations themselves, which are forgotten while nothing goes to them: a
// queue may wait for very many.
type sites struct {
	all   []sleepers // by number
	used  int
	free  uint32 // numbers that are not used, by first
	index index
}

// sleepers are the messages that wait for one destination, oldest first.
type sleepers struct {
	hash        siteHash
	first, last uint32
	n           uint32
}

func (s *sites) hash(i uint32) uint64 { return uint64(s.all[i].hash) }

func (s *sites) find(h siteHash) uint32 {
	return s.index.find(uint64(h), func(i uint32) bool { return s.all[i].hash == h })
}

// len returns how many messages wait for a site.
func (s *sites) len(h siteHash) int {
	if i := s.find(h); i != 0 {
		return int(s.all[i].n)
	}
	return 0
}

// add makes slot i the youngest of a site's sleepers.
func (s *sites) add(slots *slab, h siteHash, i uint32) {
	n := s.find(h)
	if n == 0 {
		n = s.make(h)
	}
	site, slot := &s.all[n], slots.at(i)
	slot.site, slot.prev, slot.next = n, site.last, 0
	if site.last == 0 {
		site.first = i
	} else {
		slots.at(site.last).next = i
	}
	site.last = i
	site.n++
}

func (s *sites) make(h siteHash) uint32 {
	n := s.free
	switch {
	case n != 0:
		s.free = s.all[n].first
	case len(s.all) == 0:
		s.all = make([]sleepers, 2) // 0 is none
		n = 1
	default:
		n = uint32(len(s.all))
		s.all = append(s.all, sleepers{})
	}
	s.used++
	s.all[n] = sleepers{hash: h}
	s.index.add(n)
	return n
}

// remove takes slot i from the sleepers of its site.
func (s *sites) remove(slots *slab, i uint32) {
	slot := slots.at(i)
	n := slot.site
	before, behind := s.links(slots, slot)
	*before, *behind = slot.next, slot.prev
	slot.site, slot.prev, slot.next = 0, 0, 0
	if s.all[n].n--; s.all[n].n > 0 {
		return
	}
	s.index.remove(n)
	s.all[n] = sleepers{first: s.free}
	s.free = n
	if s.used--; s.used == 0 {
		s.all, s.free = nil, 0
	}
}

// links returns what points at a slot from before it and from behind it.
func (s *sites) links(slots *slab, of *slot) (before, behind *uint32) {
	before, behind = &s.all[of.site].first, &s.all[of.site].last
	if of.prev != 0 {
		before = &slots.at(of.prev).next
	}
	if of.next != 0 {
		behind = &slots.at(of.next).prev
	}
	return before, behind
}

// moved notes that a slot has got the number i.
func (s *sites) moved(slots *slab, i uint32) {
	if slot := slots.at(i); slot.site != 0 {
		before, behind := s.links(slots, slot)
		*before, *behind = i, i
	}
}
