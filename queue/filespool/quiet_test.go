package filespool

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit/internal/crashfs"
)

// TestQuiet has mail wait in the journal while more comes, and get files when no
// more does.
func TestQuiet(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := opened(t, crashfs.New(), Options{Segment: 16 << 10, Journal: 64 << 10})
		for range 100 {
			put(t, s, small, 1)
			time.Sleep(quietAfter / 2)
		}
		require.Len(t, s.index.ids(), 100, "it is not worth a file yet")
		time.Sleep(quietAfter + time.Millisecond)
		synctest.Wait()
		require.Less(t, len(s.index.ids()), 60)
		require.Len(t, listed(t, s), 100)
		require.NoError(t, s.Close())
	})
}
