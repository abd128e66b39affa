//go:build slow

package main

import "testing"

func TestSlowAnswerEndsBeforeTheUpload(t *testing.T) { answerEndsBeforeTheUpload(t, 200) }
