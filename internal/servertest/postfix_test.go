package servertest

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestParametersStandOnce(t *testing.T) {
	t.Parallel()
	assert.Equal(t, "b =\nc = x\na=3\n", mainOf("a = 1\nb =\na = 2\nc = x\n", []string{"a=3"}))
}
