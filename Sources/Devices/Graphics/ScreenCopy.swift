import Foundation

/// What a display adapter shows, copied, so that pictures are drawn of it while the machine runs on.
///
/// `VGA.take` brings it up to date under the machine lock, which it holds for as long as copying takes of what has changed;
/// all else is done without.
public final class ScreenCopy {
  /// Pages copied in one go: a mebibyte, which takes some hundred microseconds.
  private static let most = 256

  private let vram: UnsafeMutablePointer<UInt8>
  private let pages: Int
  /// A byte for each page that was copied since the picture was drawn.
  private let freshPages: UnsafeMutablePointer<UInt8>
  private var core: VGACore
  private var renderer: VGARenderer
  private var isBlinkOn = true
  /// Where the next go begins; nil: the last has come to the end.
  private var nextPage: Int?
  private var hasFreshPages = false
  /// Whether everything is to be drawn, since the registers or the blink's half have changed.
  private var isWhollyFresh = true

  init(vramSize: Int) {
    // Zeros that the host has not had to make yet: most of it is never shown.
    guard let zeros = calloc(vramSize, 1) else { preconditionFailure("out of memory") }
    vram = zeros.bindMemory(to: UInt8.self, capacity: vramSize)
    pages = vramSize >> VGACore.pageBits
    freshPages = .allocate(capacity: pages)
    freshPages.initialize(repeating: 0, count: pages)
    core = VGACore(vram: vram, vramSize: vramSize, changedPages: freshPages)
    renderer = VGARenderer(core)
  }

  deinit {
    free(vram)
    freshPages.deallocate()
  }

  /// - Returns: whether it has come to the end of what is shown.
  func take(_ source: VGACore, blinkOn: Bool) -> Bool {
    if nextPage == nil {
      let isNew = !core.state.showsAs(source.state)
      if isNew { core.state = source.state }
      if isNew || (blinkOn != isBlinkOn && renderer.blinks) {
        renderer = VGARenderer(core, blinkOn: blinkOn)
        isWhollyFresh = true
      }
      isBlinkOn = blinkOn
    }
    let shown = renderer.shownBytes
    let end = min((shown.upperBound + (1 << VGACore.pageBits) - 1) >> VGACore.pageBits, pages)
    var page = nextPage ?? shown.lowerBound >> VGACore.pageBits
    var copied = 0
    while page < end, copied < Self.most {
      if source.changedPages[page] != 0 {
        source.changedPages[page] = 0
        let at = page << VGACore.pageBits
        (vram + at).update(from: source.vram + at, count: 1 << VGACore.pageBits)
        freshPages[page] = 1
        hasFreshPages = true
        copied += 1
      }
      page += 1
    }
    nextPage = page < end ? page : nil
    return nextPage == nil
  }

  /// Dots of a line.
  public var width: Int { renderer.width }
  /// Lines of the picture.
  public var height: Int { renderer.height }

  /// Whether the picture may be another than the last that was drawn.
  public var isFresh: Bool { isWhollyFresh || hasFreshPages }

  /// Draws the lines that may have changed since the last time, or all.
  /// - Parameters:
  ///   - limit: lines from this one on are left out.
  ///   - line: gets a line's number and its pixels, four bytes each as `Frame` has them.
  public func draw(all: Bool, limit: Int = .max, _ line: (Int, UnsafeBufferPointer<UInt32>) -> Void) {
    let width = renderer.width
    withUnsafeTemporaryAllocation(of: UInt32.self, capacity: width) { room in
      guard let base = room.baseAddress else { return }
      for y in 0..<min(renderer.height, limit) where all || isWhollyFresh || isFresh(y) {
        renderer.draw(line: y, into: base)
        line(y, UnsafeBufferPointer(start: base, count: width))
      }
    }
    if hasFreshPages { freshPages.update(repeating: 0, count: pages) }
    hasFreshPages = false
    isWhollyFresh = false
  }

  private func isFresh(_ y: Int) -> Bool {
    guard let bytes = renderer.bytes(ofLine: y) else { return true }
    guard !bytes.isEmpty else { return false }
    for page in bytes.lowerBound >> VGACore.pageBits...(bytes.upperBound - 1) >> VGACore.pageBits
    where freshPages[page] != 0 { return true }
    return false
  }
}

extension VGACore.State {
  /// Whether the same memory gives the same picture by both.
  fileprivate func showsAs(_ other: Self) -> Bool {
    attributeIndex & 0x20 == other.attributeIndex & 0x20 && dacMask == other.dacMask && crtc == other.crtc
      && sequencer == other.sequencer && graphics == other.graphics && attribute == other.attribute
      && palette == other.palette
      // The bank is where the CPU writes, not what is shown.
      && dispi.indices.allSatisfy { $0 == VGACore.Dispi.bank || dispi[$0] == other.dispi[$0] }
  }
}
