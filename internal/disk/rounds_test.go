package disk

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// together has n callers wait for the same round, calls before, and returns what
// became of each when the round is let go.
func together(t *testing.T, r *Rounds, n int, do func(n int) error) []error {
	t.Helper()
	r.busy.Lock()
	errs := make([]error, n)
	var group sync.WaitGroup
	for i := range n {
		epoch := r.Epoch()
		group.Go(func() { errs[i] = r.Join(epoch, do) })
	}
	require.Eventually(t, func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.waiting != nil && r.waiting.n == n
	}, 10*time.Second, time.Millisecond)
	r.busy.Unlock()
	group.Wait()
	return errs
}

func TestWhoWaitsShares(t *testing.T) {
	t.Parallel()
	var r Rounds
	calls := 0
	for _, err := range together(t, &r, 5, func(n int) error { calls += n; return nil }) {
		assert.NoError(t, err)
	}
	assert.Equal(t, 5, calls, "one call for five")
}

// A sync that fails fails everybody who waited for it, and whoever was writing
// meanwhile: the kernel has dropped the pages of all of them.
func TestFailedRound(t *testing.T) {
	t.Parallel()
	var r Rounds
	before := r.Epoch()
	broken := errors.New("broken")
	for _, err := range together(t, &r, 5, func(int) error { return broken }) {
		assert.ErrorIs(t, err, broken)
	}
	good := func(int) error { return nil }
	assert.ErrorIs(t, r.Join(before, good), ErrLost)
	assert.NoError(t, r.Join(r.Epoch(), good))
}
