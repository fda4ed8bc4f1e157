package filespool_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/internal/disktest"
	"github.com/mtakit/mtakit/queue"
	"github.com/mtakit/mtakit/queue/filespool"
)

func submit(t *testing.T, s *filespool.Spool, body string, changes ...queue.Change) (string, error) {
	t.Helper()
	d, err := s.Begin(t.Context(), 0)
	require.NoError(t, err)
	_, err = fmt.Fprintf(d, "Subject: %s\r\n\r\n%s", body[:8], body)
	if err != nil {
		_, again := d.Commit(t.Context(), sealed(), nil)
		require.Error(t, again, "what could not be written cannot be committed")
		return "", err
	}
	ids, err := s.Commit(t.Context(), []queue.Accept{{Draft: d, Envelope: sealed(), Attempts: 1}}, changes)
	if err != nil {
		return "", err
	}
	return ids[0], nil
}

func sealed() *mtakit.Envelope {
	return &mtakit.Envelope{Sender: "a@example.org", Recipients: []mtakit.Recipient{{Address: "b@example.org"}}}
}

// tidied wants that a closed spool has left nothing behind.
func tidied(t *testing.T, dir string) {
	t.Helper()
	for _, folder := range []string{"tmp", "corrupt"} {
		left, err := os.ReadDir(filepath.Join(dir, folder))
		require.NoError(t, err)
		require.Empty(t, left, folder)
	}
}

// legible wants exactly these messages in the spool, whole.
func legible(t *testing.T, s *filespool.Spool, bodies map[string]string) {
	t.Helper()
	n := 0
	for e, err := range s.Entries(t.Context()) {
		require.NoError(t, err)
		require.NoError(t, s.Check(t.Context(), e.ID))
		st, err := s.Open(t.Context(), e.ID)
		require.NoError(t, err)
		var b strings.Builder
		_, err = st.Message.WriteTo(&b)
		require.NoError(t, err)
		require.True(t, strings.HasSuffix(b.String(), bodies[e.ID]) && bodies[e.ID] != "", e.ID)
		n++
	}
	require.Len(t, bodies, n)
}

func requireReply(t *testing.T, err error, code int) {
	t.Helper()
	var reply *smtp.SMTPError
	require.ErrorAs(t, err, &reply)
	require.Equal(t, code, reply.Code, err.Error())
}

// TestRealFullDisk fills a real file system: new mail gets 452, what is there
// stays whole, and when something is removed mail is taken again.
func TestRealFullDisk(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"tmpfs", "ext4"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(disktest.New(t, kind, 8).Dir, "queue")
			s, err := filespool.Open(dir, filespool.Options{MinFree: -1, MemoryPerDraft: 64 << 10})
			require.NoError(t, err)
			bodies := map[string]string{}
			fill := func(size int, changes ...queue.Change) {
				for n := 0; ; n++ {
					body := strings.Repeat(fmt.Sprintf("%08d", n), size/8) + "\r\n"
					id, err := submit(t, s, body, changes...)
					if err != nil {
						requireReply(t, err, 452)
						require.ErrorIs(t, err, syscall.ENOSPC)
						return
					}
					bodies[id] = body
				}
			}
			for _, size := range []int{300_000, 50_000, 5000, 64} {
				fill(size)
			}
			require.Greater(t, len(bodies), 30)
			legible(t, s, bodies)

			changed := 0
			for id := range bodies {
				mark := queue.Change{ID: id, Marks: []queue.Mark{{State: queue.Failed}}, Defer: true}
				_, err := s.Commit(t.Context(), nil, []queue.Change{mark})
				if err == nil {
					changed++
				} else {
					require.ErrorIs(t, err, syscall.ENOSPC)
				}
				if changed == 5 {
					fill(64, queue.Change{ID: id, Marks: []queue.Mark{{State: queue.Notified}}})
					break
				}
			}
			require.NoError(t, s.Close())
			s, err = filespool.Open(dir, filespool.Options{MinFree: -1})
			require.NoError(t, err, "it starts on a full disk")
			legible(t, s, bodies)

			_, err = submit(t, s, strings.Repeat("too much", 1000))
			requireReply(t, err, 452)
			freed := 0
			for id, body := range bodies {
				// What is left may use some of the room for files of its own.
				if len(body) > 4000 {
					_, err := s.Commit(t.Context(), nil, []queue.Change{{ID: id, Remove: true}})
					require.NoError(t, err, "removing needs no room")
					delete(bodies, id)
					freed++
				}
			}
			require.Positive(t, freed)
			body := strings.Repeat("there is room", 1000)
			var id string
			require.Eventually(t, func() bool { // the cleaner may still have removed files open
				id, err = submit(t, s, body)
				return err == nil
			}, 1e10, 1e7)
			bodies[id] = body
			legible(t, s, bodies)
			require.NoError(t, s.Close())
			tidied(t, dir)

			s, err = filespool.Open(dir, filespool.Options{})
			require.NoError(t, err)
			_, err = s.Begin(t.Context(), 0)
			requireReply(t, err, 452) // before a byte is sent: less than MinFree is left
			require.NoError(t, s.Close())
		})
	}
}

// TestRealReadOnlyDisk has the kernel make the file system read-only, as it does
// after an error.
func TestRealReadOnlyDisk(t *testing.T) {
	t.Parallel()
	disk := disktest.New(t, "ext4", 16)
	dir := filepath.Join(disk.Dir, "queue")
	s, err := filespool.Open(dir, filespool.Options{MinFree: -1})
	require.NoError(t, err)
	bodies := map[string]string{}
	for n := range 5 {
		body := strings.Repeat(fmt.Sprintf("%08d", n), 100)
		id, err := submit(t, s, body)
		require.NoError(t, err)
		bodies[id] = body
	}
	started, err := s.Begin(t.Context(), 0)
	require.NoError(t, err)
	_, err = started.Write([]byte("Subject: started\r\n\r\n"))
	require.NoError(t, err)

	disk.Break(t)
	_, err = started.Commit(t.Context(), sealed(), nil)
	requireReply(t, err, 452)
	for id := range bodies {
		_, err = submit(t, s, "refused, refused", queue.Change{ID: id, Marks: []queue.Mark{{State: queue.Notified}}, Remove: true})
		requireReply(t, err, 452)
		for _, c := range []queue.Change{{Attempts: 2}, {Marks: []queue.Mark{{State: queue.Done}}}, {Hold: "h"}, {Remove: true}} {
			c.ID = id
			_, err := s.Commit(t.Context(), nil, []queue.Change{c})
			require.ErrorIs(t, err, syscall.EROFS, "%+v", c)
		}
	}
	legible(t, s, bodies) // what could not be removed from such a disk is swept later
	require.NoError(t, s.Close())
	_, err = filespool.Open(dir, filespool.Options{})
	require.Error(t, err)
	require.True(t, errors.Is(err, syscall.EROFS), "%v", err)

	disk.Repair(t)
	s, err = filespool.Open(dir, filespool.Options{MinFree: -1})
	require.NoError(t, err)
	legible(t, s, bodies)
	id, err := submit(t, s, "it goes on again")
	require.NoError(t, err)
	bodies[id] = "it goes on again"
	legible(t, s, bodies)
	require.NoError(t, s.Close())
	tidied(t, dir)
}
