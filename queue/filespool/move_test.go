package filespool

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit/internal/crashfs"
	"github.com/mtakit/mtakit/queue"
)

// empty moves what keeps the oldest segment to files, as the cleaner does.
func empty(s *Spool) error {
	for _, seg := range s.index.segments {
		if moves := s.index.of(seg, atATime); len(moves) > 0 {
			return s.moveOut(moves)
		}
	}
	return nil
}

// movers are messages on their way to a file: from the journal, from incoming/
// and from the file of another folder.
var movers = map[string]func(t *testing.T, s *Spool) string{
	"journal": func(t *testing.T, s *Spool) string {
		id := put(t, s, small, 1)
		must(t, s, queue.Change{ID: id, Defer: true})
		return id
	},
	"incoming": func(t *testing.T, s *Spool) string {
		id := put(t, s, small+strings.Repeat("long\r\n", 100), 1)
		must(t, s, queue.Change{ID: id, Defer: true})
		return id
	},
	"active": func(t *testing.T, s *Spool) string {
		id := put(t, s, small, 1)
		require.NoError(t, empty(s))
		must(t, s, queue.Change{ID: id, Defer: true})
		return id
	},
	"deferred": func(t *testing.T, s *Spool) string {
		id := put(t, s, small, 1)
		must(t, s, queue.Change{ID: id, Defer: true})
		require.NoError(t, empty(s))
		must(t, s, queue.Change{ID: id, Hold: "h"})
		return id
	},
}

// TestMoveFails has one operation of a move fail, and one of the next try after
// something else was recorded, and then it succeeds. Whatever name and whatever
// file of the message the failures have left, what was recorded is there, in the
// same process, in the next one and after a power cut; and what is removed then
// does not come back.
func TestMoveFails(t *testing.T) {
	t.Parallel()
	for kind, mover := range movers {
		for between, c := range map[string]queue.Change{"mark": {}, "hold": {Hold: "h"}, "release": {Release: true}} {
			t.Run(kind+"/"+between, func(t *testing.T) {
				t.Parallel()
				for first := 0; ; first++ {
					for second := 0; ; second++ {
						a, b := moveFails(t, mover, c, first, second, 0)
						moveFails(t, mover, c, first, second, 1+(first+3*second)%7)
						if !a && first > 0 {
							return
						}
						if !b && second > 0 {
							break
						}
					}
				}
			})
		}
	}
}

// moveFails tells whether the first try and the second failed. In the first
// four lives there is a restart before the message is removed.
func moveFails(t *testing.T, mover func(*testing.T, *Spool) string, c queue.Change, first, second, life int) (a, b bool) {
	name := fmt.Sprintf("first %d, second %d, life %d", first, second, life)
	disk := crashfs.New()
	o := Options{MemoryPerDraft: 300, Segment: 16 << 10, inline: true}
	s := opened(t, disk, o)
	id := mover(t, s)
	try := func(n int) bool {
		if n > 0 {
			disk.Inject(n, crashfs.Fault{Err: syscall.EIO})
		}
		err := empty(s)
		for n := range 40 { // it may not have come to it
			disk.Inject(n+1, crashfs.Fault{})
		}
		return err != nil
	}
	a = try(first)
	c.ID, c.Marks = id, done
	must(t, s, c)
	want, err := s.Open(t.Context(), id)
	require.NoError(t, err, name)
	b = try(second)
	try(0)
	require.Empty(t, s.index.ids(), name)

	check := func() {
		st, err := s.Open(t.Context(), id)
		require.NoError(t, err, name)
		require.Equal(t, queue.Done, st.Marks[0].State, name)
		require.Equal(t, want.Queue, st.Queue, name)
		require.Equal(t, []string{id}, listed(t, s), name)
	}
	check()
	restart := func() {
		switch {
		case life%4 == 0:
			disk = disk.Restart(nil)
		case life%4 == 1:
			disk = disk.Exit()
		default:
			disk = disk.Restart(rand.New(rand.NewPCG(uint64(life), uint64(first*100+second))))
		}
		s = opened(t, disk, o)
	}
	if life < 4 {
		restart()
		check()
		must(t, s, queue.Change{ID: id, Warned: true})
		require.NoError(t, empty(s), name)
		check()
	}
	must(t, s, queue.Change{ID: id, Remove: true})
	require.NoError(t, s.seeOff(s.index.leavers()), name) // as before its segment goes
	for _, seg := range s.index.segments {
		require.NoError(t, s.remove(s.journal.dir.file(segmentName(seg.seq))))
	}
	require.NoError(t, s.journal.dir.sync(s.journal.dir.Epoch()))
	restart()
	require.Empty(t, listed(t, s), name)
	require.Empty(t, s.index.ids(), name)
	return a, b
}
