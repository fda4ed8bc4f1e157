package maildir

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/internal/disk"
)

// letter is a message on its way into one Maildir.
type letter struct {
	path   string         // of the Maildir, below the root
	owner  *owner         // nil means the user of the process
	fields []mtakit.Field // above the message
	err    error          // why it does not get there

	tmp, new disk.Folder // nil before they are open
	file     disk.File   // nil when it is not open
	name     string      // in tmp/; "" when there is none
	final    string      // in new/; "" when there is none
	size     int64
	group    *group
	epoch    int64 // of group, before what is to be synced next

	limited bool     // the Maildir's usage is looked at
	quota   Quota    // zero means what maildirsize says
	account *account // nil before it is looked at
	held    usage    // kept in the account for the letter
	entered usage    // counted in the account
}

// deliver takes letters with the same message through all that has to be done,
// side by side: they share what syncs they can, with each other and with other
// deliveries. What becomes of each is in its err.
func (s *store) deliver(ctx context.Context, d Dir, m *mtakit.Message, letters []*letter) {
	done := false
	defer func() { // also when a table's or a body's code panics
		for _, l := range letters {
			if err := s.end(l, done && l.err == nil); err != nil {
				l.err = errors.Join(l.err, err)
			}
			if l.err != nil {
				l.err = fmt.Errorf("maildir: %w", l.err)
			}
		}
	}()
	for _, l := range letters {
		if l.err = ctx.Err(); l.err == nil {
			l.err = s.write(d, l, m)
		}
	}
	together(letters, (*group).syncFiles)
	for _, l := range intact(letters) {
		l.err = l.publish()
	}
	together(letters, (*group).syncNames)
	done = true
}

// write puts the message into tmp/.
func (s *store) write(d Dir, l *letter, m *mtakit.Message) (err error) {
	l.name = uniqueName(time.Now(), d.Hostname)
	if err = s.create(l); errors.Is(err, fs.ErrNotExist) { // somebody has removed it just now
		l.closeFolders()
		err = s.create(l)
	}
	if err != nil {
		l.name = ""
		return err
	}
	if l.group, err = s.join(l.new); err != nil {
		return err
	}
	l.epoch = l.group.Epoch()
	b := s.buffer(l)
	defer s.giveBack(b)
	if err := l.fill(b, d.CRLF, m); err != nil || !l.limited {
		return err
	}
	return s.charge(l)
}

func (s *store) create(l *letter) (err error) {
	if l.tmp, l.new, err = s.open(l.path, l.owner); err != nil {
		return err
	}
	if l.owner == nil {
		l.file, err = l.tmp.Create(l.name)
		return err
	}
	if err = l.owner.has(l.tmp, l.new); err != nil {
		return err
	}
	if l.file, err = l.tmp.Create(l.name); err != nil {
		return err
	}
	if err = l.file.Chown(l.owner.uid, l.owner.gid); err != nil {
		return errors.Join(err, l.tmp.Remove(l.name))
	}
	return nil
}

func (l *letter) fill(b *bufio.Writer, crlf bool, m *mtakit.Message) error {
	lines := unixLines{w: b}
	var w io.Writer = &lines
	if crlf {
		w = b
	}
	for _, field := range l.fields {
		if _, err := w.Write(field.Raw()); err != nil {
			return err
		}
	}
	if _, err := m.WriteTo(w); err != nil {
		return err
	}
	return errors.Join(lines.Flush(), b.Flush())
}

// Write writes to the file and counts.
func (l *letter) Write(p []byte) (int, error) {
	n, err := l.file.Write(p)
	l.size += int64(n)
	return n, err
}

// publish moves the synced file to new/.
func (l *letter) publish() error {
	err := l.file.Close()
	l.file = nil
	if err != nil {
		return err
	}
	l.epoch = l.group.Epoch()
	if l.account != nil { // who counts sees both the name and its entry, or none
		l.account.mu.Lock()
		defer l.account.mu.Unlock()
	}
	final := fmt.Sprintf("%s,S=%d", l.name, l.size)
	if err := l.tmp.Move(l.name, l.new, final); err != nil {
		return err
	}
	l.name, l.final = "", final
	if l.account != nil {
		l.account.enter(l)
	}
	return nil
}

// end closes all that is open. If the letter did not get there, it takes away
// what there is of it: after a sync of names that failed, the name may be on
// disk or not, and taking it back makes the retry that follows the only copy.
func (s *store) end(l *letter, delivered bool) error {
	var errs []error
	if l.file != nil {
		errs = append(errs, l.file.Close())
	}
	if !delivered && l.name != "" {
		errs = append(errs, l.tmp.Remove(l.name))
	}
	if !delivered {
		errs = append(errs, l.takeBack())
	}
	if l.account != nil {
		s.release(l.account)
	}
	if l.group != nil {
		s.leave(l.group)
	}
	l.closeFolders()
	return errors.Join(errs...)
}

// takeBack takes away the name in new/, and what was counted for it.
func (l *letter) takeBack() error {
	remove := func() error {
		if l.final == "" {
			return nil
		}
		return l.new.Remove(l.final)
	}
	if l.account == nil {
		return remove()
	}
	return l.account.leave(l, remove)
}

// closeFolders closes what was only read, which cannot lose anything.
func (l *letter) closeFolders() {
	for _, f := range [...]*disk.Folder{&l.tmp, &l.new} {
		if *f != nil {
			(*f).Close()
			*f = nil
		}
	}
}

// intact returns the letters with which nothing has gone wrong so far.
func intact(letters []*letter) []*letter {
	left := make([]*letter, 0, len(letters))
	for _, l := range letters {
		if l.err == nil {
			left = append(left, l)
		}
	}
	return left
}
