package maildir

import (
	"bufio"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/mtakit/mtakit/internal/disk"
)

// store is a mail directory in use, and what deliveries into it share.
type store struct {
	tree   disk.Tree
	root   *os.Root     // of tree; only what counts uses it
	syncFS bool         // Agent.SyncFS
	logger *slog.Logger // nil is silent

	buffers sync.Pool // of *bufio.Writer

	mu      sync.Mutex
	systems map[uint64]*group  // by device, with syncFS; kept until close
	folders map[disk.ID]*group // new/ of the deliveries that are under way

	accounts map[string]*account // by path, of the deliveries with a quota
}

// group is deliveries of which one sync does for all: onto one file system when
// that has a call for it, otherwise into one folder.
type group struct {
	disk.Rounds
	whole   disk.Syncer // nil means the folder
	id      disk.ID     // of the folder
	letters int         // under way; guarded by store.mu, counted for folders only
}

// join returns the group of a delivery into a folder. What the delivery writes
// afterwards is vouched for by the group's syncs. leave ends it.
func (s *store) join(new disk.Folder) (*group, error) {
	id, err := new.ID()
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.syncFS {
		if g, err := s.system(id.Device, new); err != nil || g.whole != nil {
			return g, err
		}
	}
	g := s.folders[id]
	if g == nil {
		if s.folders == nil {
			s.folders = map[disk.ID]*group{}
		}
		g = &group{id: id}
		s.folders[id] = g
	}
	g.letters++
	return g, nil
}

// gather is how long a sync of a whole file system waits for more deliveries: each
// writes what everybody has left unwritten there, which those wait for who receive
// mail. Nobody waits for a delivery.
const gather = 5 * time.Millisecond

// system returns the group of a file system; its whole is nil when there is no
// call for all of it. The number of a device is not given to another one while
// the group has a descriptor there. Under mu.
func (s *store) system(device uint64, on disk.Folder) (*group, error) {
	if g := s.systems[device]; g != nil {
		return g, nil
	}
	w, err := on.Whole()
	if err != nil {
		return nil, err
	}
	if w == nil && s.logger != nil {
		s.logger.Warn("no syncfs(2) that reports errors here: mailboxes are synced one by one", "device", device)
	}
	if s.systems == nil {
		s.systems = map[uint64]*group{}
	}
	g := &group{whole: w}
	g.Gather = gather
	s.systems[device] = g
	return g, nil
}

func (s *store) leave(g *group) {
	if g.whole != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if g.letters--; g.letters == 0 {
		delete(s.folders, g.id)
	}
}

func (s *store) buffer(w io.Writer) *bufio.Writer {
	if b, ok := s.buffers.Get().(*bufio.Writer); ok {
		b.Reset(w)
		return b
	}
	return bufio.NewWriterSize(w, 64<<10)
}

func (s *store) giveBack(b *bufio.Writer) {
	b.Reset(nil)
	s.buffers.Put(b)
}

// close gives the descriptors back. No delivery is under way.
func (s *store) close() error {
	err := s.tree.Close()
	for _, g := range s.systems {
		if g.whole == nil {
			continue
		}
		if e := g.whole.Close(); err == nil {
			err = e
		}
	}
	return err
}

// together calls sync for each group with those of its letters with which nothing
// has gone wrong so far. An error is that of all of them.
func together(letters []*letter, sync func(g *group, mine []*letter) error) {
	for rest := intact(letters); len(rest) > 0; {
		g := rest[0].group
		var mine, others []*letter
		for _, l := range rest {
			if l.group == g {
				mine = append(mine, l)
			} else {
				others = append(others, l)
			}
		}
		if err := sync(g, mine); err != nil {
			for _, l := range mine {
				l.err = err
			}
		}
		rest = others
	}
}

// syncFiles makes the bytes of files durable.
func (g *group) syncFiles(letters []*letter) error {
	if g.whole == nil {
		for _, l := range letters {
			l.err = l.file.Sync()
		}
		return nil
	}
	return g.Join(since(letters), func(n int) error {
		if n == 1 && len(letters) == 1 {
			return letters[0].file.Sync()
		}
		return g.whole.SyncAll()
	})
}

// syncNames makes the names in new/ durable.
func (g *group) syncNames(letters []*letter) error {
	return g.Join(since(letters), func(n int) error {
		if g.whole == nil || n == 1 && len(letters) == 1 {
			return letters[0].new.Sync()
		}
		return g.whole.SyncAll()
	})
}

// since returns the oldest epoch of letters.
func since(letters []*letter) int64 {
	epoch := letters[0].epoch
	for _, l := range letters {
		epoch = min(epoch, l.epoch)
	}
	return epoch
}
