package maildir

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestParseQuota(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]Quota{
		"10000000S,1000C": {10000000, 1000}, "1000C,5S": {5, 1000}, "7C": {0, 7}, " 12345 ": {12345, 0},
		"0": {}, "": {}, "NOQUOTA": {}, "0S,0C": {}, "100S , 3C": {100, 3},
	} {
		got, err := ParseQuota(text)
		require.NoError(t, err, text)
		assert.Equal(t, want, got, text)
		again, err := ParseQuota(got.String())
		require.NoError(t, err, text)
		assert.Equal(t, got, again, text)
	}
	for _, text := range []string{"-1S", "1X", "S", "1S,", "1 S", "9999999999999999999S", "1e6", "10M", "1S\x00"} {
		_, err := ParseQuota(text)
		assert.ErrorIs(t, err, ErrQuota, text)
	}
	assert.Equal(t, "10000000S,1000C", Quota{10000000, 1000}.String())
}

func TestParseSizes(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		text string
		want sizes
		good bool
	}{
		"Courier's": {"1000S,10C\n    4711    1\n   -4711   -1\n     100    2\n", sizes{Quota{1000, 10}, true, usage{100, 2}, 3}, true},
		"Dovecot's": {"1000S\n100 2\n", sizes{Quota{1000, 0}, true, usage{100, 2}, 1}, true},
		"ours":      {"5C\n" + usage{4711, 1}.line() + usage{-4711, -1}.line(), sizes{Quota{0, 5}, true, usage{}, 2}, true},
		// The quota counts, and the rest is counted again.
		"no entry":          {"5C\n", sizes{Quota{0, 5}, true, usage{}, 0}, false},
		"half a line":       {"5C\n12 1\n13", sizes{Quota{0, 5}, true, usage{}, 0}, false},
		"three words":       {"5C\n1 2 3\n", sizes{Quota{0, 5}, true, usage{}, 0}, false},
		"less than nothing": {"5C\n1 1\n-2 -1\n", sizes{Quota{0, 5}, true, usage{-1, 0}, 2}, false},
		"too much":          {"5C\n9223372036854775807 1\n", sizes{Quota{0, 5}, true, usage{}, 0}, false},
		"no quota":          {"what?\n1 1\n", sizes{}, false},
		"empty":             {"", sizes{}, false},
	} {
		got, err := parseSizes([]byte(tt.text))
		assert.Equal(t, tt.want, got, name)
		assert.Equal(t, tt.good, err == nil, name)
	}
	assert.Len(t, usage{4711, 1}.line(), 14)
	_, err := parseSizes([]byte("5C\n" + strings.Repeat("1 1\n", maxSizes/4)))
	assert.ErrorIs(t, err, errSizes, "long")
}

// FuzzSizes: whatever a maildirsize file has in it, sums do not overflow, and what
// is written is read.
func FuzzSizes(f *testing.F) {
	f.Add([]byte("1000S,10C\n    4711    1\n"))
	f.Add([]byte("0S\n1 1\n-1 -1\n\n"))
	f.Add([]byte("1125899906842624S\n" + strings.Repeat("1125899906842624 1\n", 200)))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := parseSizes(b)
		require.Equal(t, s.limited, s.quota != Quota{})
		if err != nil {
			return
		}
		require.GreaterOrEqual(t, s.sum.bytes, int64(0))
		require.GreaterOrEqual(t, s.sum.messages, int64(0))
		if s.sum.bytes <= maxAmount && s.sum.messages <= maxAmount {
			again, err := parseSizes([]byte(s.quota.String() + "\n" + s.sum.line()))
			require.NoError(t, err)
			require.Equal(t, sizes{s.quota, s.limited, s.sum, 1}, again)
		}
	})
}

func TestNamedSize(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]int64{"1.x.host,S=12": 12, "1.x.host,S=12,W=13:2,S": 12, "1.x.host,W=13,S=12:2,": 12} {
		got, ok := namedSize(name)
		assert.True(t, ok, name)
		assert.Equal(t, want, got, name)
	}
	for _, name := range []string{"1.x.host", "1.x.host:2,S=12", "1.x,S=-1", "1.x,S=9999999999999999999", "1.x,S="} {
		_, ok := namedSize(name)
		assert.False(t, ok, name)
	}
}
