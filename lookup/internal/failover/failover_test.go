package failover

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestServer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var s Server
		down := errors.New("down")
		slow, err := s.Take(time.Minute)
		require.NoError(t, err)
		assert.True(t, s.Failed(slow, time.Minute, down))
		assert.False(t, s.Failed(slow, time.Minute, down), "no news")
		_, err = s.Take(time.Minute)
		require.ErrorIs(t, err, down)
		time.Sleep(time.Minute)
		require.NoError(t, s.Resting())
		turn, err := s.Take(time.Minute)
		require.NoError(t, err)
		require.ErrorIs(t, s.Resting(), down, "one tries it, others do not")
		assert.True(t, s.Succeeded())
		assert.False(t, s.Succeeded())
		assert.False(t, s.Failed(turn, time.Minute, down), "who asked before it came back has nothing to say")
		require.NoError(t, s.Resting())
	})
}

func TestShare(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		endless, cancel := Share(t.Context(), 3)
		defer cancel()
		_, bounded := endless.Deadline()
		assert.False(t, bounded, "of no bound there are no shares")

		whole, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		for shares, want := range map[int]time.Duration{1: time.Minute, 3: 20 * time.Second} {
			part, cancel := Share(whole, shares)
			end, _ := part.Deadline()
			assert.Equal(t, want, time.Until(end))
			cancel()
		}
	})
}
