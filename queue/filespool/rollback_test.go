package filespool

import (
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit/internal/crashfs"
	"github.com/mtakit/mtakit/queue"
)

// TestRecordsAfterAFailedStep fails a step at its very end, and the next
// operations with it. What is recorded of the message later stays after the end
// of the process and after a power cut, also if the step's log comes back.
func TestRecordsAfterAFailedStep(t *testing.T) {
	t.Parallel()
	for faults := 1; faults < 12; faults++ {
		for life := range 2 {
			base := crashfs.New()
			disk := &watched{FS: base}
			s, err := Open("q", Options{FS: disk})
			require.NoError(t, err)
			id := put(t, s, small, 1)
			d, err := s.Begin(t.Context(), 0)
			require.NoError(t, err)
			syncs := 0
			disk.syncing = func(dir string) {
				if dir != "q/undo" {
					return
				}
				if syncs++; syncs == 2 { // the moment at which the step is done
					for n := range faults {
						base.Inject(n+1, crashfs.Fault{Err: syscall.EIO})
					}
				}
			}
			_, err = s.Commit(t.Context(), []queue.Accept{{Draft: d, Envelope: testEnvelope()}},
				[]queue.Change{{ID: id, Marks: []queue.Mark{{State: queue.Notified}}}})
			require.ErrorIs(t, err, syscall.EIO)
			for n := range 12 {
				base.Inject(n+1, crashfs.Fault{})
			}
			must(t, s, queue.Change{ID: id, Marks: []queue.Mark{{Recipient: 1, State: queue.Done}}})
			must(t, s, queue.Change{ID: id, Hold: "h"})
			after := base.Exit
			if life == 1 {
				after = func() *crashfs.Disk { return base.Restart(nil) }
			}
			s, err = Open("q", Options{FS: after()})
			require.NoError(t, err)
			require.Equal(t, []string{id}, listed(t, s), "%d faults, life %d", faults, life)
			st, err := s.Open(t.Context(), id)
			require.NoError(t, err)
			require.Equal(t, queue.Pending, st.Marks[0].State)
			require.Equal(t, queue.Done, st.Marks[1].State, "%d faults, life %d", faults, life)
			require.Equal(t, "h", st.Hold)
		}
	}
}

// TestStepThatCannotBeTakenBack refuses changes of its message, and of no other.
func TestStepThatCannotBeTakenBack(t *testing.T) {
	t.Parallel()
	base := crashfs.New()
	disk := &watched{FS: base}
	s, err := Open("q", Options{FS: disk})
	require.NoError(t, err)
	id, other := put(t, s, small, 1), put(t, s, small, 1)
	d, err := s.Begin(t.Context(), 0)
	require.NoError(t, err)
	broken := func(dir string) {
		if dir == "q/undo" {
			base.Inject(1, crashfs.Fault{Err: syscall.EIO})
		}
	}
	first := true
	disk.syncing = func(dir string) {
		if !first {
			broken(dir)
		}
		first = false
	}
	_, err = s.Commit(t.Context(), []queue.Accept{{Draft: d, Envelope: testEnvelope()}},
		[]queue.Change{{ID: id, Marks: []queue.Mark{{State: queue.Notified}}}})
	require.ErrorIs(t, err, syscall.EIO)
	_, err = s.Commit(t.Context(), nil, []queue.Change{{ID: id, Warned: true}})
	require.ErrorIs(t, err, syscall.EIO)
	must(t, s, queue.Change{ID: other, Warned: true})
	st, err := s.Open(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, queue.Pending, st.Marks[0].State)
	disk.syncing = nil
	must(t, s, queue.Change{ID: id, Warned: true})
}
