package filespool

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mtakit/mtakit"
	"github.com/mtakit/mtakit/queue"
)

// BenchmarkAccept takes messages of 2 KiB, each durable before the next of the
// same writer.
func BenchmarkAccept(b *testing.B) {
	for _, writers := range []int{1, 16, 64} {
		b.Run(fmt.Sprint(writers), func(b *testing.B) {
			s, err := Open(b.TempDir(), Options{})
			require.NoError(b, err)
			defer s.Close()
			content := make([]byte, 2<<10)
			copy(content, "From: a@example.org\r\nTo: b@example.org\r\n\r\n")
			env := &mtakit.Envelope{Sender: "a@example.org", Recipients: []mtakit.Recipient{{Address: "b@example.org"}}}
			received, _ := mtakit.NewField("Received", "from a by b;\r\n\tSun, 22 Nov 2026 10:00:00 +0000")
			var failed atomic.Int64
			b.SetParallelism(writers / 2)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					d, _ := s.Begin(b.Context(), 0)
					d.Write(content)
					m, _ := d.Message(b.Context())
					m.Header.Prepend(received)
					_, err := s.Commit(b.Context(), []queue.Accept{{Draft: d, Envelope: env, Message: m, Attempts: 1}}, nil)
					if err != nil {
						failed.Add(1)
					}
				}
			})
			require.Zero(b, failed.Load())
		})
	}
}
