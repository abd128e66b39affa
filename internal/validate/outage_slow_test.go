//go:build slow

package validate_test

import "testing"

func TestSlowKeysStayInUseThroughADaysOutage(t *testing.T) { keysStayInUse(t, 25, "hangs", "refuses") }
