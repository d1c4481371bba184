package hansom

import "time"

// Site is the static files of an app as one of its deployments has them.
type Site struct {
	Project    string
	App        string
	Deployment int64     // its number
	Created    time.Time // when it was made
	Upload     string    // SHA-256 of the list of its files
	SPA        bool      // paths without a file get index.html
	CleanURLs  bool      // about.html answers at /about
}
