package api

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strings"

	"github.com/labstack/echo/v4"

	"middletier/internal/problem"
)

var errLogLevel = problem.New("invalid-request", `The body must be {"level": "…"} with debug, info, warn or error.`)

// logLevelHandler answers GET and PUT /loglevel. A new level lasts until the service
// stops.
func logLevelHandler(level *slog.LevelVar) echo.HandlerFunc {
	type document struct {
		Level string `json:"level"`
	}
	return func(c echo.Context) error {
		if r := c.Request(); r.Method == http.MethodPut {
			var requested document
			if err := json.NewDecoder(r.Body).Decode(&requested); err != nil {
				return fmt.Errorf("%w: %w", errLogLevel, err)
			}
			if err := level.UnmarshalText([]byte(requested.Level)); err != nil {
				return fmt.Errorf("%w: %w", errLogLevel, err)
			}
		}
		return c.JSON(http.StatusOK, document{strings.ToLower(level.Level().String())})
	}
}
