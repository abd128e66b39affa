package main

import (
	"fmt"
	"net/url"
	"slices"

	"middletier/internal/api"
	"middletier/internal/credential"
	"middletier/internal/webroot"
)

func (f file) siteConfig() webroot.Config {
	c := webroot.Config{Folder: f.Server.WebRoot, Policy: f.Server.ContentPolicy, Reserved: slices.Clone(api.ServicePaths)}
	c.Reserved = append(c.Reserved, f.Session.CallbackPath, f.Session.SignedOutCallbackPath, f.Session.RemoteSignOutPath)
	if u, err := url.Parse(f.AzureAd.Instance); f.Session.Enabled && err == nil && u.Host != "" {
		c.FrameSources = []string{u.Scheme + "://" + u.Host} // a silent sign-in visits it in a hidden frame
	}
	return c
}

// checkSite reports a web root that cannot be served, and files that must not be in it: the
// configuration's own files and the secrets that it names. The other commands do not need
// the folder.
func checkSite(files []string) func(file, report) {
	return func(f file, report report) {
		c := f.siteConfig()
		c.CheckLoading(under("server", report))
		for _, path := range files {
			if c.Publishes(path) {
				report("server.webRoot", "holds the configuration file "+path+", which everybody could read")
			}
		}
		for key, path := range f.secretFiles() {
			if c.Publishes(path) {
				report(key, "is in server.webRoot, so everybody could read it: "+path)
			}
		}
	}
}

// secretFiles are the files that hold secrets, by the keys that name them.
func (f file) secretFiles() map[string]string {
	files := map[string]string{
		"server.tls.keyFile": f.Server.TLS.KeyFile, "tokenCache.redis.passwordFile": f.TokenCache.Redis.PasswordFile,
	}
	for section, entries := range map[string][]credential.Config{
		"azureAd.clientCredentials": f.AzureAd.ClientCredentials, "session.clientCredentials": f.Session.ClientCredentials,
	} {
		for i, entry := range entries {
			key := fmt.Sprintf("%s[%d].", section, i)
			files[key+"clientSecretFile"] = entry.ClientSecretFile
			files[key+"certificateDiskPath"] = entry.CertificateDiskPath
			files[key+"privateKeyDiskPath"] = entry.PrivateKeyDiskPath
			files[key+"certificatePasswordFile"] = entry.CertificatePasswordFile
			files[key+"signedAssertionFileDiskPath"] = entry.SignedAssertionFileDiskPath
		}
	}
	for i, client := range f.Sidecar.TokenClients {
		files[fmt.Sprintf("sidecar.tokenClients[%d].clientSecretFile", i)] = client.ClientSecretFile
	}
	return files
}
