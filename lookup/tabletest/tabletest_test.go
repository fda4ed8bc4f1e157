package tabletest_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit/lookup"
	"github.com/mtakit/mtakit/lookup/tabletest"
)

var colours = tabletest.Contents{Found: map[string]string{"sky": "blue"}, Missing: []string{"sea"}}

func TestRun(t *testing.T) { tabletest.Run(t, lookup.Inline{"sky": "blue"}, colours) }

type table = lookup.LookupTableFunc

func TestCheckFindsFaults(t *testing.T) {
	t.Parallel()
	good := lookup.Inline{"sky": "blue"}
	var calls atomic.Int64
	for fault, bad := range map[string]lookup.LookupTable{
		"missing: key \"\"":    table(func(context.Context, string) (string, bool, error) { return "blue", true, nil }),
		"a miss has the value": table(func(_ context.Context, key string) (string, bool, error) { return "blue", key == "sky", nil }),
		"a miss is no error": table(func(ctx context.Context, key string) (string, bool, error) {
			if key != "sky" {
				return "", false, errors.New("no such key")
			}
			return good.Lookup(ctx, key)
		}),
		"who gives up is told": table(func(ctx context.Context, key string) (string, bool, error) {
			if ctx.Err() != nil {
				return "", false, nil
			}
			return good.Lookup(ctx, key)
		}),
		"odd keys: key": table(func(ctx context.Context, key string) (string, bool, error) {
			if len(key) > 1000 {
				return "", false, errors.New("too long")
			}
			return good.Lookup(ctx, key)
		}),
		"concurrent: key": table(func(ctx context.Context, key string) (string, bool, error) {
			if key == "sky" && calls.Add(1) > 20 {
				return "grey", true, nil
			}
			return good.Lookup(ctx, key)
		}),
	} {
		require.ErrorContains(t, tabletest.Check(t.Context(), bad, colours), fault)
	}
	require.ErrorContains(t, tabletest.Check(t.Context(), good, tabletest.Contents{}), "have to be given")
	assert.NoError(t, tabletest.Check(t.Context(), good, colours))
}

// A table of one's own is checked like this; in a test, Run does it.
func Example() {
	own := lookup.LookupTableFunc(func(_ context.Context, key string) (string, bool, error) {
		if key == "sky" {
			return "blue", true, nil
		}
		return "no such thing", false, nil
	})
	err := tabletest.Check(context.Background(), own, tabletest.Contents{
		Found:   map[string]string{"sky": "blue"},
		Missing: []string{"sea"},
	})
	fmt.Println(err)
	// Output: missing: key "": a miss has the value "no such thing"
}
