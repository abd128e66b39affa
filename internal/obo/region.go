package obo

import (
	"context"
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"time"

	"middletier/internal/failure"
	"middletier/internal/reply"
)

// AutoDetectRegion is a Config.Region that stands for the region of the Azure host.
const AutoDetectRegion = "TryAutoDetect"

// noRegion keeps MSAL from the region of its own environment variable.
const noRegion = "DisableMsalForceRegion"

const (
	// hostMetadataURL is where an Azure host says in which region it is ("Azure Instance
	// Metadata Service").
	hostMetadataURL = "http://169.254.169.254/metadata/instance/compute?api-version=2021-02-01"

	// detectionAttempts and detectionTimeout bound the detection. The host is next to us;
	// MSAL waits for 2 s instead, which is too long for a start where there is no such host.
	detectionAttempts = 2
	detectionTimeout  = 500 * time.Millisecond

	maxHostMetadata = 64 << 10
)

// regionName is what MSAL accepts as a region: a label of a host name.
var regionName = regexp.MustCompile(`^[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?$`)

// RegionName returns the short name of a region from its short or its displayed name, such as
// westeurope for West Europe. It is "" for other texts.
func RegionName(text string) string {
	name := strings.ToLower(strings.ReplaceAll(text, " ", ""))
	if !regionName.MatchString(name) {
		return ""
	}
	return name
}

// checkRegion reports a region that is no name.
func (c Config) checkRegion(report func(key, problem string)) {
	if c.Region != "" && !strings.EqualFold(c.Region, AutoDetectRegion) && RegionName(c.Region) == "" {
		report("azureRegion", "must be the short name of a region, such as westeurope, or "+AutoDetectRegion)
	}
}

// region returns the region to use, "" for none. It may ask the host.
func (c Config) region(ctx context.Context) string {
	if !strings.EqualFold(c.Region, AutoDetectRegion) {
		return RegionName(c.Region)
	}
	var region string
	var err error
	for range detectionAttempts {
		if region, err = c.detectRegion(ctx); err == nil {
			c.Log.Info("the region of this host is used for application tokens", "region", region)
			return region
		}
	}
	c.Log.Warn("the region of this host is not known: application tokens come from the global endpoint", "error", failure.Of(err))
	return ""
}

func (c Config) detectRegion(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, detectionTimeout)
	defer cancel()
	url := c.HostMetadataURL
	if url == "" {
		url = hostMetadataURL
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	req.Header.Set("Metadata", "true")
	transport := &http.Transport{} // no proxy: the host is next to us
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return "", err
	}
	body, err := reply.Body(resp, maxHostMetadata)
	if err != nil {
		return "", err
	}
	var host struct{ Location string }
	if resp.StatusCode != http.StatusOK || json.Unmarshal(body, &host) != nil || !regionName.MatchString(host.Location) {
		return "", failure.New("the host's metadata name no region")
	}
	return host.Location, nil
}
