package maildir_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"testing"

	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/maildir"
)

type verifyTable map[string]string

func (t verifyTable) Lookup(_ context.Context, key string) (string, bool, error) {
	if t[key] == "!" {
		return "", false, errors.New("disk on fire")
	}
	return t[key], t[key] != "", nil
}

// TestVerify says what Deliver would, and leaves nothing behind.
func TestVerify(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	require.NoError(t, err)
	defer root.Close()
	a := &maildir.Agent{Root: root, Mailboxes: verifyTable{"a@b": "b/a/", "file@b": "b/file", "broken@b": "!"}}
	d := &mtakit.Delivery{Envelope: &mtakit.Envelope{}, Message: mtakit.NewMessage(nil), Report: func(int, mtakit.Result) { t.Error("reported") }}
	for _, address := range []string{"a@b", "nobody@b", "file@b", "broken@b"} {
		d.Recipients = append(d.Recipients, mtakit.Recipient{Address: address})
	}
	for i, want := range []struct {
		outcome mtakit.Outcome
		status  smtp.EnhancedCode
	}{{mtakit.Delivered, smtp.EnhancedCode{2, 0, 0}}, {mtakit.Bounced, smtp.EnhancedCode{5, 1, 1}},
		{mtakit.Deferred, smtp.EnhancedCode{4, 3, 5}}, {mtakit.Deferred, smtp.EnhancedCode{4, 3, 0}}} {
		r := a.Verify(t.Context(), d)[i]
		assert.Equal(t, want.outcome, r.Outcome, i)
		assert.Equal(t, want.status, r.Status, i)
	}
	left, err := fs.ReadDir(root.FS(), ".")
	require.NoError(t, err)
	assert.Empty(t, left)
}
