//go:build slow

package redistier

import "testing"

// Every wrong answer to every command.
func TestSlowWrongAnswersOfRedis(t *testing.T) {
	giveWrongAnswers(t, "hello", "getrange", "set", "del", "evalsha", "publish", "scan", "unlink", "ping")
}

func TestSlowWrongAnswersOfASentinel(t *testing.T) {
	giveWrongAnswersOfASentinel(t, "hello", "ping", "auth")
}
