import DiskImages

extension VirtualMachine {
  /// Takes the media for this machine alone. Needed before `start`, and before a machine runs again that shared its
  /// media with a target and has not claimed them since. Done already when they are taken or claimed.
  /// - Throws: `DiskImageError.inUse` naming a medium that another machine holds; then nothing has changed.
  public func lockMedia() throws { try media.take() }

  /// Takes the media, or keeps them, in a way that another machine can share and no writer can come in between.
  /// Everything written before is on stable storage: the next host may reach them another way.
  public func shareMedia() throws {
    media.flush()
    try media.share()
  }

  /// What is shared becomes this machine's alone as soon as nobody else holds it. It may run meanwhile.
  public func claimMedia() { media.claim() }

  /// Brings what was written to the media to stable storage. The guest runs on meanwhile.
  public func flushMedia() { media.flush() }

  /// Gives the media up, everything written before being on stable storage.
  public func unlockMedia() {
    media.flush()
    media.release()
  }
}
