package servertest

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestServers(t *testing.T) {
	t.Parallel()
	slapd := func(tb testing.TB) *Server {
		return Slapd(tb, "dn: dc=example,dc=org\nobjectClass: dcObject\nobjectClass: organization\ndc: example\no: test\n")
	}
	postfix := func(tb testing.TB) *Server { return Postfix(tb) }
	mariaDB := func(tb testing.TB) *Server { return MariaDB(tb) }
	for name, start := range map[string]func(testing.TB) *Server{"MariaDB": mariaDB, "PostgreSQL": PostgreSQL, "Slapd": slapd, "Redis": Redis, "Memcached": Memcached, "Postfix": postfix} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t)
			onSocket := func() bool { return s.Socket == "" || listens("unix", s.Socket) }
			assert.True(t, onSocket())
			assert.True(t, listens("tcp", s.Addr))
			for _, end := range []func(){s.Kill, s.Stop} {
				end()
				assert.False(t, listens("unix", s.Socket))
				assert.False(t, listens("tcp", s.Addr))
				s.Start()
				assert.True(t, onSocket())
			}
			require.NoError(t, s.ready(t.Context()))
		})
	}
}
