package queue

import (
	"slices"
	"time"
)

// calendar is a heap that has the slot on top that is due first. Each slot knows
// its position.
type calendar struct {
	items []uint32
}

// due returns when the first is due.
func (c *calendar) due(s *slab) time.Duration {
	if len(c.items) == 0 {
		return never
	}
	return s.at(c.items[0]).due
}

func (c *calendar) add(s *slab, i uint32) {
	c.items = append(c.items, i)
	c.up(s, len(c.items)-1)
}

// remove takes what is at position p.
func (c *calendar) remove(s *slab, p int) {
	last := len(c.items) - 1
	i := c.items[last]
	c.items = c.items[:last]
	if p < last {
		c.set(s, p, i)
		c.fix(s, p)
	}
	if cap(c.items) > chunkSize && len(c.items) < cap(c.items)/4 {
		c.items = slices.Clip(slices.Clone(c.items))
	}
}

// fix mends the order when the slot at position p has got another time.
func (c *calendar) fix(s *slab, p int) {
	if !c.down(s, p) {
		c.up(s, p)
	}
}

func (c *calendar) set(s *slab, p int, i uint32) {
	c.items[p] = i
	s.at(i).position = uint32(p)
}

func (c *calendar) up(s *slab, p int) {
	i := c.items[p]
	due := s.at(i).due
	for p > 0 {
		parent := (p - 1) / 2
		if s.at(c.items[parent]).due <= due {
			break
		}
		c.set(s, p, c.items[parent])
		p = parent
	}
	c.set(s, p, i)
}

// down reports whether the slot moved.
func (c *calendar) down(s *slab, p int) bool {
	i, from := c.items[p], p
	due := s.at(i).due
	for {
		child := 2*p + 1
		if child >= len(c.items) {
			break
		}
		if right := child + 1; right < len(c.items) && s.at(c.items[right]).due < s.at(c.items[child]).due {
			child = right
		}
		if s.at(c.items[child]).due >= due {
			break
		}
		c.set(s, p, c.items[child])
		p = child
	}
	c.set(s, p, i)
	return p != from
}
