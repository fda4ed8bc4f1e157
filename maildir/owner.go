package maildir

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/internal/disk"
)

// owner is whom a Maildir belongs to.
type owner struct{ uid, gid int }

// errOwner is wrapped when it is not known whom a Maildir belongs to, or when it
// belongs to somebody else.
var errOwner = errors.New("owner of the mailbox")

// minUID is Postfix's virtual_minimum_uid.
const minUID = 100

// has reports in an error when a folder is somebody else's: who may write into his
// Maildir could have put a link to another one there, and root can write to both.
func (o *owner) has(folders ...disk.Folder) error {
	for _, f := range folders {
		uid, err := f.Owner()
		if err != nil {
			return err
		}
		if uid >= 0 && uid != o.uid {
			return fmt.Errorf("%w: a folder of it belongs to user %d, not %d", errOwner, uid, o.uid)
		}
	}
	return nil
}

// hasRoot is has for the directory in which maildirsize is.
func (o *owner) hasRoot(root *os.Root) error {
	info, err := root.Stat(".")
	if err != nil {
		return err
	}
	if uid := uidOf(info); uid >= 0 && uid != o.uid {
		return fmt.Errorf("%w: it belongs to user %d, not %d", errOwner, uid, o.uid)
	}
	return nil
}

// own asks whom the recipient's Maildir belongs to.
func (a *Agent) own(ctx context.Context, d *mtakit.Delivery, r *mtakit.Recipient, l *letter) *mtakit.Result {
	if a.UIDs == nil && a.GIDs == nil {
		return nil
	}
	least := a.MinUID
	if least == 0 {
		least = minUID
	}
	var o owner
	for _, id := range []struct {
		table Table
		into  *int
		least int
	}{{a.UIDs, &o.uid, least}, {a.GIDs, &o.gid, 1}} {
		n, err := idOf(ctx, id.table, r.Address)
		if err == nil && n < id.least {
			err = fmt.Errorf("%w: %d is less than %d", errOwner, n, id.least)
		}
		if err != nil {
			a.log(ctx, d, r, err)
			result := deferral(err)
			return &result
		}
		*id.into = n
	}
	l.owner = &o
	return nil
}

// idOf looks up a number.
func idOf(ctx context.Context, t Table, address string) (int, error) {
	if t == nil {
		return 0, fmt.Errorf("%w: UIDs and GIDs need each other", errOwner)
	}
	value, ok, err := t.Lookup(ctx, address)
	if err != nil {
		return 0, err
	}
	if !ok {
		return 0, fmt.Errorf("%w: not in the table", errOwner)
	}
	n, err := strconv.ParseUint(strings.TrimSpace(value), 10, 31)
	if err != nil {
		return 0, fmt.Errorf("%w: %.100q is no number of a user or group", errOwner, value)
	}
	return int(n), nil
}
