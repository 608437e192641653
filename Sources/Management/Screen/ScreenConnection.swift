import DiskImages
import Foundation
import HostNetwork

/// A viewer's side of a machine's screen.
public final class ScreenConnection {
  /// Readable when there is news.
  public let socket: Int32
  /// The picture's size in pixels; 0 until the first has come.
  public private(set) var width = 0
  /// As `width`.
  public private(set) var height = 0
  /// `width * height` pixels of red, green, blue and 255, which the machine writes while they are read.
  public private(set) var pixels: UnsafeRawPointer?
  /// The machine's name.
  public private(set) var machine = ""

  /// - Parameter socket: connected to a machine's process; then no longer the caller's.
  public init(_ socket: Int32) {
    self.socket = socket
    UnixSocket.setPatience(socket, seconds: 0)
  }

  /// Connects to the screen of a running machine.
  /// - Throws: `ManagementError` when it does not run.
  public convenience init(_ entry: VMEntry) throws {
    do {
      self.init(try UnixSocket.connect(path: entry.folder.screenSocket, packets: true))
    } catch {
      let state = try entry.folder.currentStatus().state
      guard !state.isLive else { throw error }
      throw ManagementError(
        "the machine \"\(entry.name)\" is \(state.rawValue) and has no screen",
        remedy: "start it with vmctl startvm \(ShellWord.quote(entry.name))")
    }
  }

  deinit {
    forget()
    close(socket)
  }

  private func forget() {
    if let pixels { munmap(UnsafeMutableRawPointer(mutating: pixels), width * height * 4) }
    pixels = nil
  }

  /// Says something to the machine.
  /// - Returns: false when it is gone.
  @discardableResult
  public func say(_ input: ScreenInput) -> Bool { DescriptorPassing.send(socket, input.encoded, []) }

  /// Waits for the next news.
  /// - Returns: nil when the machine is gone, or speaks another version's language.
  public func hear() -> ScreenNews? {
    guard let (bytes, descriptors) = DescriptorPassing.receive(socket) else { return nil }
    defer { for descriptor in descriptors { close(descriptor) } }
    guard let news = ScreenNews(bytes) else { return nil }
    switch news {
    case .greeting(let version, let machine):
      guard version == ScreenProtocol.version else { return nil }
      self.machine = machine
    case .picture(let width, let height):
      forget()
      guard let file = descriptors.first,
        let memory = mmap(nil, width * height * 4, PROT_READ, MAP_SHARED, file, 0), memory != MAP_FAILED
      else { return nil }
      (self.width, self.height, pixels) = (width, height, UnsafeRawPointer(memory))
    case .changes(let parts):
      let area = (0...width, 0...height)
      guard parts.allSatisfy({ area.0.contains($0.x + $0.width) && area.1.contains($0.y + $0.height) }) else {
        return nil
      }
    case .gone: break
    }
    return news
  }
}
