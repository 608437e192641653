import CHost

/// Emitted code comes by here before it runs.
extension Translator {
  /// Whether the code of `block`, which has just been emitted, may run: the verifier has proved it, or is off.
  ///
  /// - Parameter firstLink: the first of the code's links.
  func accepts(
    _ block: UnsafeMutablePointer<vm_block>, code: UnsafeMutablePointer<UInt8>, length: Int, firstLink: Int
  ) -> Bool {
    guard let verifier else { return true }
    beforeVerifying?(code, length)
    let own = UnsafeBufferPointer(
      start: links + (region * Self.regionLinks + firstLink), count: linksUsed[region] - firstLink)
    do throws(CodeRefusal) {
      try verifier.verify(EmittedBlock(code: code, length: length, block: block, links: own))
      statistics.verifiedBlocks += 1
      return true
    } catch {
      statistics.refusedBlocks += 1
      statistics.lastRefusal = error
      linksUsed[region] = firstLink
      onRefusal(error)
      return false
    }
  }
}
