package maildir

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/internal/crashfs"
	"github.com/mtakit/mtakit/internal/disk"
)

// crashTree is a disk.Tree that forgets what was not synced.
type crashTree struct {
	*crashfs.Disk
	mu     sync.Mutex
	ids    map[string]uint64
	before func() // a folder is synced other than new/; may be nil
}

func (t *crashTree) Open(dir string) (disk.Folder, error) {
	dir = path.Clean(dir)
	if _, err := names(t.Disk, dir); err != nil {
		return nil, err
	}
	return crashFolder{t, dir}, nil
}

func (t *crashTree) Close() error { return nil }

func (t *crashTree) Mkdir(dir string, _ fs.FileMode) error { return t.Disk.Mkdir(dir) }

func (t *crashTree) MkdirOwned(dir string, _, _ int) error { return t.Disk.Mkdir(dir) }

type crashFolder struct {
	t   *crashTree
	dir string
}

func (f crashFolder) Create(name string) (disk.File, error) {
	file, err := f.t.Disk.Open(path.Join(f.dir, name), os.O_RDWR|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return nil, err
	}
	return &crashFile{File: file}, nil
}

func (f crashFolder) Move(name string, to disk.Folder, other string) error {
	return f.t.Move(path.Join(f.dir, name), path.Join(to.(crashFolder).dir, other))
}

func (f crashFolder) Remove(name string) error { return f.t.Remove(path.Join(f.dir, name)) }

func (f crashFolder) Sync() error {
	if linger(); f.t.before != nil && path.Base(f.dir) != "new" {
		f.t.before()
	}
	return f.t.SyncDir(f.dir)
}

// linger makes a sync so long that others come to wait for the next one.
func linger() {
	for range 100 {
		runtime.Gosched()
	}
}

// ID puts "two/" and what is below it on a device of its own, though a sync of
// one writes, or loses, what is on the other too.
func (f crashFolder) ID() (disk.ID, error) {
	f.t.mu.Lock()
	defer f.t.mu.Unlock()
	id := disk.ID{Device: 1, Inode: f.t.ids[f.dir]}
	if id.Inode == 0 {
		id.Inode = uint64(len(f.t.ids) + 1)
		f.t.ids[f.dir] = id.Inode
	}
	if strings.HasPrefix(f.dir, "two/") {
		id.Device = 2
	}
	return id, nil
}

func (f crashFolder) Whole() (disk.Syncer, error) {
	w, err := f.t.OpenWhole(f.dir)
	return crashWhole{w}, err
}

type crashWhole struct{ crashfs.Whole }

func (w crashWhole) SyncAll() error {
	linger()
	return w.Whole.SyncAll()
}

func (f crashFolder) Owner() (int, error) { return -1, nil }

func (f crashFolder) Close() error { return nil }

type crashFile struct {
	crashfs.File
	size int64
}

func (f *crashFile) Write(p []byte) (int, error) {
	n, err := f.WriteAt(p, f.size)
	f.size += int64(n)
	return n, err
}

func (f *crashFile) Chown(int, int) error { return nil }

func (f *crashFile) Sync() error {
	linger()
	return f.File.Sync()
}

type anyone struct{}

func (anyone) Lookup(_ context.Context, key string) (string, bool, error) {
	user, domain, _ := strings.Cut(key, "@")
	return domain + "/" + user + "/", true, nil
}

// crashAgent delivers onto a disk of its own kind.
func crashAgent(d *crashfs.Disk, syncFS bool) *Agent {
	tree := &crashTree{Disk: d, ids: map[string]uint64{}}
	return &Agent{Mailboxes: anyone{}, SyncFS: syncFS, store: &store{tree: tree, syncFS: syncFS}}
}

// post delivers a message that tells its number, and returns where it lies for
// the recipients to whom it was delivered.
func post(a *Agent, n int, recipients ...string) (delivered, deferred []string) {
	d := &mtakit.Delivery{Envelope: &mtakit.Envelope{Sender: fmt.Sprint(n)}, Message: mtakit.NewMessage([]byte(text(n)))}
	for _, r := range recipients {
		d.Recipients = append(d.Recipients, mtakit.Recipient{Address: r})
	}
	for i, r := range a.Deliver(context.Background(), d) {
		if file, ok := strings.CutPrefix(r.Diagnostic, "delivered to maildir "); ok {
			delivered = append(delivered, file)
		} else {
			deferred = append(deferred, recipients[i])
		}
	}
	return delivered, deferred
}

func text(n int) string {
	return fmt.Sprintf("Subject: %d\r\n\r\n%s\r\n", n, strings.Repeat(fmt.Sprint(n), 500))
}

// names lists a directory.
func names(d *crashfs.Disk, dir string) (all []string, err error) {
	err = d.List(dir, func(name string) { all = append(all, name) })
	return all, err
}

// visible returns what readers see, by path, and requires that every message of
// it is whole.
func visible(t *testing.T, d *crashfs.Disk) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	domains, err := names(d, ".")
	require.NoError(t, err)
	for _, domain := range domains {
		users, err := names(d, domain)
		require.NoError(t, err)
		for _, user := range users {
			dir := path.Join(domain, user, "new")
			messages, err := names(d, dir)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			require.NoError(t, err)
			for _, name := range messages {
				requireWhole(t, d, path.Join(dir, name))
				found[path.Join(dir, name)] = true
			}
		}
	}
	return found
}

func requireWhole(t *testing.T, d *crashfs.Disk, name string) {
	t.Helper()
	f, err := d.Open(name, os.O_RDONLY)
	require.NoError(t, err)
	size, err := f.Size()
	require.NoError(t, err)
	require.True(t, strings.HasSuffix(name, fmt.Sprintf(",S=%d", size)), "%s has %d bytes", name, size)
	b := make([]byte, size)
	_, err = f.ReadAt(b, 0)
	require.NoError(t, err)
	var n int
	_, err = fmt.Sscanf(string(b), "Return-Path: <%d>", &n)
	require.NoError(t, err, "%q", b)
	require.True(t, strings.HasSuffix(string(b), strings.ReplaceAll(text(n), "\r\n", "\n")), "%q", b)
}

var users = []string{"a@one", "b@one", "b@three", "c@two", "a@one"}

// TestCrashAnywhere crashes at every operation of two deliveries, into mailboxes
// that there are not and that there are, on two devices. What was reported
// is there, and whatever is there is whole.
func TestCrashAnywhere(t *testing.T) {
	t.Parallel()
	for _, syncFS := range []bool{false, true} {
		for n := 1; ; n++ {
			require.Less(t, n, 500)
			d := crashfs.New()
			d.Inject(n, crashfs.Fault{Err: crashfs.ErrCrash})
			a := crashAgent(d, syncFS)
			first, _ := post(a, 1, users...)
			second, _ := post(a, 2, users...)
			crashed := d.Crashed()
			for seed := range uint64(8) {
				var rng *rand.Rand // with none, exactly what was synced is there
				if seed > 0 {
					rng = rand.New(rand.NewPCG(seed, uint64(n)))
				}
				found := visible(t, d.Restart(rng))
				for _, file := range append(first, second...) {
					require.True(t, found[file], "syncfs %t, operation %d: %s was delivered", syncFS, n, file)
				}
			}
			if !crashed {
				require.Len(t, append(first, second...), 2*len(users))
				break
			}
		}
	}
}

// TestFaultAnywhere has one operation fail, with mailboxes that there are. What
// is deferred is in no mailbox, and what is delivered outlives a crash.
func TestFaultAnywhere(t *testing.T) {
	t.Parallel()
	for _, fault := range []crashfs.Fault{{Err: syscall.EIO}, {Err: syscall.ENOSPC, Short: true}} {
		for _, syncFS := range []bool{false, true} {
			for n := 1; n < 200; n++ {
				d := crashfs.New()
				a := crashAgent(d, syncFS)
				before, _ := post(a, 1, "a@one", "b@one")
				d.Inject(n, fault)
				delivered, deferred := post(a, 2, "a@one", "b@one", "a@one")
				if len(deferred) == 0 {
					break // all operations have had their turn
				}
				require.Len(t, delivered, 3-len(deferred))
				delivered = append(delivered, before...)
				require.Len(t, visible(t, d), len(delivered), "syncfs %t, operation %d: %v", syncFS, n, deferred)
				again, _ := post(a, 3, "b@one", "c@three")
				require.Len(t, again, 2, "and it goes on")
				found := visible(t, d.Restart(nil))
				for _, file := range append(delivered, again...) {
					require.True(t, found[file], "syncfs %t, operation %d: %s was delivered", syncFS, n, file)
				}
			}
		}
	}
}

// TestCrashWhileShared crashes at some operation of many deliveries at once, into
// few mailboxes, and looks for everything delivered. Every other time the
// mailboxes are there before, and some operations fail.
func TestCrashWhileShared(t *testing.T) {
	t.Parallel()
	for seed := range uint64(120) {
		rng := rand.New(rand.NewPCG(seed, 1))
		d := crashfs.New()
		a := crashAgent(d, seed%2 == 0)
		var all []string
		end := 80
		if seed%4 > 1 {
			end = 800
			all, _ = post(a, 7, users[:3]...)
			for range rng.IntN(6) {
				d.Inject(1+rng.IntN(600), crashfs.Fault{Err: syscall.EIO})
			}
		}
		d.Inject(1+rng.IntN(end), crashfs.Fault{Err: crashfs.ErrCrash})
		var mu sync.Mutex
		var group sync.WaitGroup
		for session := range 8 {
			group.Go(func() {
				for n := range 6 {
					to := []string{users[n%3], users[(n+session)%3]}
					delivered, _ := post(a, session*100+n, to[session%2:]...)
					mu.Lock()
					all = append(all, delivered...)
					mu.Unlock()
				}
			})
		}
		group.Wait()
		found := visible(t, d.Restart(rng))
		for _, file := range all {
			assert.True(t, found[file], "seed %d: %s was delivered", seed, file)
		}
		assert.Empty(t, a.store.folders)
	}
}

// TestMailboxInTheMaking delivers into a mailbox while another delivery makes it
// and has come to its n-th sync, and crashes before that.
func TestMailboxInTheMaking(t *testing.T) {
	t.Parallel()
	for n := 1; ; n++ {
		d := crashfs.New()
		a := crashAgent(d, false)
		var delivered []string
		syncs := 0
		tree := a.store.tree.(*crashTree)
		tree.before = func() {
			if syncs++; syncs == n {
				delivered, _ = post(a, 1, "a@one")
				d.Inject(1, crashfs.Fault{Err: crashfs.ErrCrash})
			}
		}
		post(a, 2, "a@one")
		if !d.Crashed() {
			require.Equal(t, 5, n, "one of each directory above, two of the mailbox")
			return
		}
		require.Len(t, delivered, 1)
		require.True(t, visible(t, d.Restart(nil))[delivered[0]], "sync %d", n)
	}
}
