#include <rfb/rfbclient.h>

/// The library logs on standard error otherwise; its switch is a global variable.
static inline void vnc_client_be_quiet(void) { rfbEnableClientLogging = 0; }
