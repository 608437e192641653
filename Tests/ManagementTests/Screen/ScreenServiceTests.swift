import Foundation
import Machine
import Testing

@testable import HostNetwork
@testable import Management

/// A screen at a path longer than a socket address holds.
private final class Screen {
  let temporary: TemporaryRegistry
  let service: ScreenService
  let path: String

  init() throws {
    temporary = try TemporaryRegistry(deep: true)
    try Files.makeDirectory(temporary.registry.home)
    path = temporary.registry.home + "/screen.sock"
    service = try ScreenService(path: path, name: "box") { _ in }
  }

  deinit { service.close() }

  func socket() throws -> Int32 {
    let socket = try UnixSocket.connect(path: path, packets: true)
    // The limit that ends a hung test.
    UnixSocket.setPatience(socket, seconds: 300)
    return socket
  }

  func viewer() throws -> ScreenConnection {
    let viewer = ScreenConnection(try socket())
    UnixSocket.setPatience(viewer.socket, seconds: 300)
    #expect(viewer.hear() == .greeting(version: ScreenProtocol.version, machine: "box"))
    return viewer
  }
}

@Suite struct ScreenServiceTests {
  private func machine() throws -> VirtualMachine {
    var configuration = MachineConfiguration()
    configuration.memoryMB = 16
    configuration.verifyCode = true
    return try VirtualMachine(configuration)
  }

  @Test func onlyTheOwnerMayWatchAndNobodyMayDraw() throws {
    let screen = try Screen()
    var information = stat()
    #expect(stat(screen.path, &information) == 0 && information.st_mode & 0o777 == 0o600)
    let socket = try screen.socket()
    defer { close(socket) }
    _ = DescriptorPassing.receive(socket)
    #expect(DescriptorPassing.send(socket, ScreenInput.wantsChanges.encoded, []))
    let (bytes, descriptors) = try #require(DescriptorPassing.receive(socket))
    #expect(ScreenNews(bytes) == .picture(width: 720, height: 400))
    let file = try #require(descriptors.first)
    defer { close(file) }
    let size = 720 * 400 * 4
    #expect(mmap(nil, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0) == MAP_FAILED)
    #expect(ftruncate(file, 0) != 0 && write(file, [1], 1) < 0)
    let memory = try #require(mmap(nil, size, PROT_READ, MAP_SHARED, file, 0))
    defer { munmap(memory, size) }
    #expect(memory.load(fromByteOffset: size - 4, as: UInt32.self) == 0xFF00_0000)
    #expect(mprotect(memory, size, PROT_READ | PROT_WRITE) != 0)
  }

  @Test func viewersSeeTheScreenOfAMachineAndOfTheNext() throws {
    let screen = try Screen()
    let (first, second) = (try screen.viewer(), try screen.viewer())
    let vm = try machine()
    defer { vm.powerOff() }
    vm.start()
    screen.service.connect(vm)
    for viewer in [first, second] {
      // Until SeaBIOS has said that there is nothing to boot.
      while vm.textScreen()?.contains(where: { $0.contains("No bootable device") }) != true {
        viewer.say(.wantsChanges)
        _ = try #require(viewer.hear())
      }
      // The cursor's visible half comes again and again.
      while true {
        let frame = vm.screenshot()
        if viewer.width == frame.width, viewer.height == frame.height,
          let pixels = viewer.pixels,
          frame.pixels.withUnsafeBytes({ memcmp($0.baseAddress ?? pixels, pixels, $0.count) }) == 0
        {
          break
        }
        viewer.say(.wantsChanges)
        _ = try #require(viewer.hear())
      }
    }
    screen.service.connect(nil)
    // A machine's picture has SeaBIOS's words in its first lines.
    func isBlack() throws -> Bool {
      let pixels = try #require(first.pixels)
      return (0..<first.width * first.height).allSatisfy {
        pixels.load(fromByteOffset: $0 * 4, as: UInt32.self) == 0xFF00_0000
      }
    }
    while try !isBlack() {
      first.say(.wantsChanges)
      _ = try #require(first.hear())
    }
    screen.service.close("hostb port 6000")
    while let news = second.hear() {
      guard case .gone(let place) = news else { continue }
      #expect(place == "hostb port 6000")
      return
    }
    Issue.record("nobody said where it is")
  }

  @Test func whoSaysWhatNoViewerSaysIsShownOut() throws {
    let screen = try Screen()
    for bytes: [UInt8] in [[99], [1, 1], [2], [2, 0xE0], [5, 0xFF], Array(repeating: 5, count: 5000)] {
      let socket = try screen.socket()
      defer { close(socket) }
      _ = DescriptorPassing.receive(socket)
      #expect(DescriptorPassing.send(socket, bytes, []))
      #expect(DescriptorPassing.receive(socket) == nil, "\(bytes.prefix(3))")
    }
    // A descriptor is none of what they say either.
    let socket = try screen.socket()
    defer { close(socket) }
    _ = DescriptorPassing.receive(socket)
    #expect(DescriptorPassing.send(socket, [1], [0]))
    #expect(DescriptorPassing.receive(socket) == nil)
    let viewer = try screen.viewer()
    viewer.say(.wantsChanges)
    #expect(viewer.hear() == .picture(width: 720, height: 400))
  }

  @Test func whoDoesNotReadHoldsNobodyUp() throws {
    let screen = try Screen()
    let vm = try machine()
    defer { vm.powerOff() }
    vm.start()
    screen.service.connect(vm)
    let silent = try screen.viewer()
    // It asks and asks, until its socket is full; others are told all the same.
    silent.say(.wantsChanges)
    let viewer = try screen.viewer()
    for _ in 0..<20 {
      viewer.say(.wantsChanges)
      _ = try #require(viewer.hear())
    }
    // It has lost nothing.
    #expect(silent.hear() != nil)
    silent.say(.wantsChanges)
    #expect(silent.hear() != nil)
  }

  @Test func seatsAreLimited() throws {
    let screen = try Screen()
    var viewers: [ScreenConnection] = []
    for _ in 0..<ScreenService.seatLimit { viewers.append(try screen.viewer()) }
    // The next waits outside until somebody leaves.
    let next = ScreenConnection(try screen.socket())
    UnixSocket.setPatience(next.socket, seconds: 300)
    viewers.removeLast()
    #expect(next.hear() == .greeting(version: ScreenProtocol.version, machine: "box"))
  }
}
