package filter

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit"
)

// sparing is a table that must not be asked while it is empty.
type sparing struct{ empty bool }

func (s *sparing) Empty() bool { return s.empty }

func (s *sparing) Lookup(context.Context, string) (string, bool, error) {
	if s.empty {
		return "", false, errors.New("an empty table was asked")
	}
	return "REJECT found", true, nil
}

func TestEmptyTablesAreNotAsked(t *testing.T) {
	t.Parallel()
	table := &sparing{empty: true}
	for _, f := range []ContentFilter{HeaderChecks{Table: table}, BodyChecks{Table: table}} {
		table.empty = true
		m := mtakit.NewMessage([]byte("Subject: hello\r\n\r\nbody\r\n"))
		v, err := f.Filter(t.Context(), &mtakit.Envelope{}, m)
		require.NoError(t, err)
		assert.Equal(t, mtakit.Dunno, v.Action)

		table.empty = false // as when its file gets a rule
		v, err = f.Filter(t.Context(), &mtakit.Envelope{}, m)
		require.NoError(t, err)
		assert.Equal(t, mtakit.Reject, v.Action)
	}
}
