import CVNCClient
import Foundation

/// A client of VNC: libvncclient, as many viewers use it.
final class VNCViewer {
  private let client: UnsafeMutablePointer<rfbClient>
  private var isOver = false

  /// - Parameter password: nil: there is none to be asked for.
  init(port: Int, password: String? = nil) throws {
    // The library writes to servers that have gone.
    signal(SIGPIPE, SIG_IGN)
    vnc_client_be_quiet()
    guard let client = rfbGetClient(8, 3, 4) else { throw Failure("no client") }
    self.client = client
    client.pointee.canHandleNewFBSize = 1
    client.pointee.serverHost = strdup("127.0.0.1")
    client.pointee.serverPort = Int32(port)
    client.pointee.MallocFrameBuffer = { client in
      guard let client else { return 0 }
      free(client.pointee.frameBuffer)
      let room = calloc(Int(client.pointee.width * client.pointee.height), 4)
      client.pointee.frameBuffer = room?.assumingMemoryBound(to: UInt8.self)
      return room == nil ? 0 : 1
    }
    rfbClientSetClientData(client, VNCViewer.tag, password.flatMap { strdup($0) })
    client.pointee.GetPassword = { client in
      rfbClientGetClientData(client, VNCViewer.tag).flatMap { strdup($0.assumingMemoryBound(to: CChar.self)) }
    }
    // It frees the client when it fails.
    guard rfbInitClient(client, nil, nil) != 0 else {
      isOver = true
      throw Failure("the server does not let it in")
    }
  }

  private static var tag: UnsafeMutableRawPointer? { UnsafeMutableRawPointer(bitPattern: 0x5643) }

  deinit {
    guard !isOver else { return }
    free(client.pointee.frameBuffer)
    rfbClientCleanup(client)
  }

  var width: Int { Int(client.pointee.width) }
  var height: Int { Int(client.pointee.height) }
  var name: String { String(cString: client.pointee.desktopName) }

  /// 0xRRGGBB of each pixel.
  var pixels: [UInt32] {
    guard let bytes = client.pointee.frameBuffer else { return [] }
    let format = client.pointee.format
    return (0..<width * height).map { index in
      let value = UnsafeRawPointer(bytes).load(fromByteOffset: index * 4, as: UInt32.self)
      return (value >> UInt32(format.redShift) & 0xFF) << 16 | (value >> UInt32(format.greenShift) & 0xFF) << 8
        | value >> UInt32(format.blueShift) & 0xFF
    }
  }

  /// Takes what the server says for a moment.
  /// - Returns: false when it is gone.
  func listen() -> Bool {
    var count = WaitForMessage(client, 50_000)
    while count > 0 {
      guard HandleRFBServerMessage(client) != 0 else { return false }
      count = WaitForMessage(client, 0)
    }
    return count == 0
  }

  func press(_ symbol: UInt32) {
    _ = SendKeyEvent(client, symbol, 1)
    _ = SendKeyEvent(client, symbol, 0)
  }

  func type(_ text: String) { for scalar in text.unicodeScalars { press(scalar == "\n" ? 0xFF0D : scalar.value) } }

  func hold(_ symbol: UInt32) { _ = SendKeyEvent(client, symbol, 1) }

  func point(_ x: Int, _ y: Int, buttons: Int) { _ = SendPointerEvent(client, Int32(x), Int32(y), Int32(buttons)) }

  /// Looks until the picture is the one that `screenshotpng` takes.
  func waitForScreenshot(_ host: TestHost, _ machine: String) throws {
    try poll("the same picture as a screenshot's") {
      let file = host.folder + "/compared.png"
      try host.vmctl("controlvm", machine, "screenshotpng", file)
      let picture = try Picture(png: try Data(contentsOf: URL(fileURLWithPath: file)))
      guard listen() else { throw Failure("the server is gone") }
      return picture.width == width && picture.height == height && picture.pixels == pixels ? () : nil
    }
  }
}
