package maildir

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"
)

// errOverQuota is why a letter is not taken.
var errOverQuota = errors.New("over quota")

// staleSizes is the age at which what a maildirsize file says of a full Maildir
// is doubted.
const staleSizes = 15 * time.Minute

// sizesName is the file's name.
const sizesName = "maildirsize"

// account is a Maildir++ with its folders, while there are deliveries into it
// that have a quota. One of them at a time reads or changes what is counted.
type account struct {
	path    string // below the root
	letters int    // guarded by store.mu

	mu   sync.Mutex
	root *os.Root // of the Maildir; nil before it is open
	own  *owner   // nil means the user of the process
	held usage    // of letters that are not in new/ yet
}

// charge finds out whether a letter fits into its Maildir, and keeps its place.
func (s *store) charge(l *letter) error {
	home, err := s.home(l.path)
	if err != nil {
		return err
	}
	l.account = s.account(home)
	return l.account.charge(s.root, l)
}

// room finds out whether a letter would fit. A Maildir that there is not is empty.
func (s *store) room(l *letter) error {
	home, err := s.home(l.path)
	if err != nil {
		return err
	}
	a := s.account(home)
	defer s.release(a)
	a.mu.Lock()
	defer a.mu.Unlock()
	_, err = a.fits(s.root, l)
	if errors.Is(err, fs.ErrNotExist) {
		return fits(l.quota, usage{}, l.size)
	}
	return err
}

// home returns the Maildir++ that a folder is part of: a folder has a file
// maildirfolder.
func (s *store) home(dir string) (string, error) {
	if !strings.HasPrefix(path.Base(dir), ".") {
		return dir, nil
	}
	_, err := s.root.Lstat(path.Join(dir, "maildirfolder"))
	switch {
	case err == nil:
		return path.Dir(dir), nil
	case errors.Is(err, fs.ErrNotExist):
		return dir, nil
	}
	return "", err
}

// account returns the account of a Maildir. release gives it back.
func (s *store) account(dir string) *account {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.accounts[dir]
	if a == nil {
		if s.accounts == nil {
			s.accounts = map[string]*account{}
		}
		a = &account{path: dir}
		s.accounts[dir] = a
	}
	a.letters++
	return a
}

func (s *store) release(a *account) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a.letters--; a.letters > 0 {
		return
	}
	delete(s.accounts, a.path)
	if a.root != nil {
		a.root.Close()
	}
}

func (a *account) charge(root *os.Root, l *letter) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	limited, err := a.fits(root, l)
	if err == nil && limited {
		l.held = usage{l.size, 1}
		a.held = a.held.plus(l.held)
	}
	return err
}

// fits returns errOverQuota when the letter does not fit. limited is false when
// nobody has set a quota. Under mu.
func (a *account) fits(root *os.Root, l *letter) (limited bool, err error) {
	if err := a.open(root, l.owner); err != nil {
		return false, err
	}
	now, old, err := a.read()
	quota := l.quota
	if quota == (Quota{}) {
		if !now.limited {
			return false, nil
		}
		quota = now.quota
	}
	counted := false
	if err != nil || now.quota != quota {
		if now.sum, err = a.count(quota); err != nil {
			return true, err
		}
		counted = true
	}
	if err = fits(quota, now.sum.plus(a.held), l.size); err == nil || counted || now.entries == 1 && !old {
		return true, err
	}
	if now.sum, err = a.count(quota); err != nil {
		return true, err
	}
	return true, fits(quota, now.sum.plus(a.held), l.size)
}

// fits returns errOverQuota when a message of so many bytes is too much for what
// there is.
func fits(q Quota, used usage, size int64) error {
	if q.fits(used.plus(usage{size, 1})) {
		return nil
	}
	return fmt.Errorf("%w: %d bytes in %d messages, and %d bytes are too much for %s", errOverQuota, used.bytes, used.messages, size, q)
}

// open opens the Maildir, which has to be the owner's.
func (a *account) open(root *os.Root, o *owner) (err error) {
	if a.root == nil {
		if a.root, err = root.OpenRoot(path.Join(".", a.path)); err != nil {
			return err
		}
	}
	if a.own = o; o != nil {
		return o.hasRoot(a.root)
	}
	return nil
}

// enter counts a letter that has got to new/. Under mu.
func (a *account) enter(l *letter) {
	if l.held == (usage{}) {
		return
	}
	a.held = a.held.minus(l.held)
	l.entered, l.held = l.held, usage{}
	a.add(l.entered)
}

// leave takes back what was kept or counted for a letter that does not get
// there, with what removes it.
func (a *account) leave(l *letter, remove func() error) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	err := remove()
	a.held = a.held.minus(l.held)
	if l.entered != (usage{}) && err == nil {
		a.add(usage{}.minus(l.entered))
	}
	l.held, l.entered = usage{}, usage{}
	return err
}

// read reads the maildirsize file. errSizes says that there is none that can be
// used. old means that it has not changed for long.
func (a *account) read() (s sizes, old bool, err error) {
	f, info, err := a.file(os.O_RDONLY)
	if err != nil {
		return s, false, errSizes
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSizes))
	if err != nil {
		return s, false, errSizes
	}
	s, err = parseSizes(b)
	return s, time.Since(info.ModTime()) >= staleSizes, err
}

// file opens the maildirsize file. It has to be a plain file in its place: who
// may change the Maildir could put a link there that leads to somebody else's.
func (a *account) file(flag int) (*os.File, fs.FileInfo, error) {
	f, err := a.root.OpenFile(sizesName, flag|nonblocking, 0)
	if err != nil {
		return nil, nil, err
	}
	info, err := f.Stat()
	if err == nil {
		var there fs.FileInfo
		if there, err = a.root.Lstat(sizesName); err == nil && (!there.Mode().IsRegular() || !os.SameFile(info, there)) {
			err = errSizes
		}
	}
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return f, info, nil
}

// add appends an entry. A file that cannot be written is taken away: whoever
// wants to know next counts. Nothing is lost with it, nor is mail refused.
func (a *account) add(u usage) {
	f, _, err := a.file(os.O_WRONLY | os.O_APPEND)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err == nil {
		_, err = f.WriteString(u.line())
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		_ = a.root.Remove(sizesName)
	}
}

// count counts the messages of all folders but Trash, and begins a new
// maildirsize file, without which the result is as good.
func (a *account) count(q Quota) (usage, error) {
	dirs, err := a.dirs()
	if err != nil {
		return usage{}, err
	}
	var sum usage
	stamps := make([]time.Time, len(dirs))
	for i, dir := range dirs {
		stamps[i] = a.changed(dir)
		u, err := a.countDir(dir)
		if err != nil {
			return usage{}, fmt.Errorf("count %s: %w", dir, err)
		}
		sum = sum.plus(u)
	}
	if a.write(q, sum) != nil {
		_ = a.root.Remove(sizesName)
		return sum, nil
	}
	for i, dir := range dirs {
		if !a.changed(dir).Equal(stamps[i]) {
			_ = a.root.Remove(sizesName)
			break
		}
	}
	return sum, nil
}

// dirs returns cur/ and new/ of the Maildir and of its folders.
func (a *account) dirs() ([]string, error) {
	f, err := a.root.Open(".")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	entries, err := f.ReadDir(-1)
	if err != nil {
		return nil, err
	}
	dirs := []string{"cur", "new"}
	for _, e := range entries {
		if name := e.Name(); e.IsDir() && strings.HasPrefix(name, ".") && !strings.HasPrefix(name, "..") && name != ".Trash" {
			dirs = append(dirs, name+"/cur", name+"/new")
		}
	}
	return dirs, nil
}

// changed returns when a directory was last changed, and the zero time when
// there is none.
func (a *account) changed(dir string) time.Time {
	info, err := a.root.Lstat(dir)
	if err != nil {
		return time.Time{}
	}
	return info.ModTime()
}

func (a *account) countDir(dir string) (sum usage, err error) {
	if info, err := a.root.Lstat(dir); err != nil || !info.IsDir() {
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return sum, err
	}
	f, err := a.root.Open(dir)
	if err != nil {
		return sum, err
	}
	defer f.Close()
	for {
		names, err := f.Readdirnames(1000)
		for _, name := range names {
			sum = sum.plus(a.message(dir, name))
		}
		if errors.Is(err, io.EOF) {
			return sum, nil
		}
		if err != nil {
			return sum, err
		}
	}
}

// message returns the size that a message's name tells, and otherwise that of
// its file. One that has just gone has none.
func (a *account) message(dir, name string) usage {
	if strings.HasPrefix(name, ".") {
		return usage{}
	}
	if size, ok := namedSize(name); ok {
		return usage{size, 1}
	}
	info, err := a.root.Lstat(path.Join(dir, name))
	if err != nil || !info.Mode().IsRegular() || info.Size() > maxAmount {
		return usage{}
	}
	return usage{info.Size(), 1}
}

// namedSize reads ",S=4711" at the end of a name, or before ":2,S".
func namedSize(name string) (int64, bool) {
	base, _, _ := strings.Cut(name, ":")
	for part := range strings.SplitSeq(base, ",") {
		if digits, ok := strings.CutPrefix(part, "S="); ok {
			n, err := strconv.ParseUint(digits, 10, 63)
			return int64(n), err == nil && n <= maxAmount
		}
	}
	return 0, false
}

// write puts a new maildirsize file in the place of what is there.
func (a *account) write(q Quota, sum usage) error {
	name := "tmp/" + uniqueName(time.Now(), "maildirsize")
	f, err := a.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	if a.own != nil {
		err = f.Chown(a.own.uid, a.own.gid)
	}
	if err == nil {
		_, err = f.WriteString(q.String() + "\n" + sum.line())
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = a.root.Rename(name, sizesName)
	}
	if err != nil {
		return errors.Join(err, a.root.Remove(name))
	}
	return nil
}
